"""The pytest plugin as pytest finds it, by its entry point: a pytest of its own for each test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import environment

Pytest = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in the test's folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment({}), capture_output=True, text=True, check=False
        )

    return run


def test_a_start_of_pytest_imports_nothing_of_taskq_but_the_plugin(
    run: Pytest, tmp_path: Path
) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass")
    code = (
        "import sys, pytest; code = pytest.main(['-q', 'test_nothing.py'])\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in"
        " ('taskq', 'taskq_pytest', 'taskq_kafka', 'kombu', 'confluent_kafka', 'click', 'croniter')))\n"
        "sys.exit(code)"
    )

    done = run("-c", code)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "['taskq_pytest']"


def test_the_app_is_that_of_the_setting(run: Pytest, tmp_path: Path) -> None:
    (tmp_path / "taskq.toml").write_text('app = "shop"')
    (tmp_path / "shop.py").write_text(
        "from taskq import App\n"
        "app = App('shop')\n"
        "@app.task('double')\n"
        "def double(number): return 2 * number\n"
    )
    (tmp_path / "test_shop.py").write_text(
        "def test_double(taskq_app):\n"
        "    taskq_app.app.send_task('double', (21,))\n"
        "    [run] = taskq_app.run_until_idle()\n"
        "    assert (taskq_app.app.name, run.result) == ('shop', 42)\n"
    )

    done = run("-m", "pytest", "-q")

    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_failure_shows_the_tests_line_and_the_tasks(run: Pytest, tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(
        "from taskq import task\n"
        "@task\n"
        "def bad(): raise ValueError('no')\n"
        "def test_bad(taskq_app):\n"
        "    bad.delay()\n"
        "    taskq_app.run_until_idle()\n"
    )

    done = run("-m", "pytest", "-q")

    assert "def bad(): raise ValueError('no')" in done.stdout
    assert ">       taskq_app.run_until_idle()" in done.stdout
    assert "onmemory.py" not in done.stdout


def test_a_program_that_imports_taskq_before_pytest_gets_no_warning(
    run: Pytest, tmp_path: Path
) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass")
    code = "import sys, taskq, taskq_kafka, pytest; sys.exit(pytest.main(['-q', '-W', 'error']))"

    done = run("-c", code)

    assert done.returncode == 0, done.stdout + done.stderr
