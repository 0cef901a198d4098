"""Commands whose standard output or error is closed (`>&-`) or full (`/dev/full`), as processes: only these have such streams."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mock_cluster import MockCluster
from tests.support.processes import Processes, environment
from tests.support.waiting import wait_until

TASKS = """
import logging
from pathlib import Path
from taskq import default_app, task

# Beside the handler of taskq, which has nowhere to write to: what a failed test shows.
logging.getLogger("taskq").addHandler(logging.FileHandler("log"))

@task("note", queue="notes")
def note(): ...

@default_app.on("worker_ready")
def ready():
    Path("marker").write_text("ready")
"""
LOGS = "import logging; logging.basicConfig(filename='marker', level='INFO')"
NO_SPACE = "No space left on device"

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own_tasks.py").write_text(TASKS)
    (tmp_path / "own_logs.py").write_text(LOGS)
    (tmp_path / "plan.json").write_text("[]")
    return tmp_path


def command(*arguments: str, streams: str) -> list[str]:
    """Return a shell's command line that runs taskq with its streams changed."""
    words = shlex.join([sys.executable, "-m", "taskq", *arguments])
    # Some shells have Python write without buffers, which hides what a full stream still holds.
    return ["sh", "-c", f"unset PYTHONUNBUFFERED; exec {words} {streams}"]


def run(folder: Path, *arguments: str, streams: str) -> tuple[int, str]:
    """Return a command's exit code and what it wrote to stderr."""
    done = subprocess.run(
        command(*arguments, streams=streams),
        cwd=folder,
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_closed_stdout_is_no_error(folder: Path) -> None:
    assert run(folder, "tasks", "-A", "own_tasks", streams=">&-") == (0, "")


@pytest.mark.parametrize("arguments", [("tasks", "-A", "own_tasks"), ("--help",)])
def test_a_full_stdout_is_one_line(folder: Path, arguments: tuple[str, ...]) -> None:
    done = run(folder, *arguments, streams=">/dev/full")

    assert done == (1, f"taskq: cannot write to stdout: {NO_SPACE}\n")


def test_an_error_keeps_its_code_where_nobody_can_read_it(folder: Path) -> None:
    assert run(folder, "nothing", streams="2>/dev/full") == (2, "")


def test_what_was_sent_is_told_where_stdout_is_full(
    folder: Path, mock_cluster: MockCluster
) -> None:
    send = ("send", "note", "-A", "own_tasks", "-b", mock_cluster.bootstrap, "--task-id", "mine")

    done = run(folder, *send, streams=">/dev/full")

    assert done[0] == 1
    assert done[1] == f"taskq: task mine was sent; that cannot be written to stdout: {NO_SPACE}\n"


@pytest.mark.parametrize(
    ("arguments", "streams"),
    [
        (("worker", "-P", "threads", "-c", "1"), ">&-"),
        (("worker", "-P", "solo"), ">/dev/full"),
        (("worker", "-c", "1"), ">/dev/full 2>/dev/full"),
        (("beat", "-A", "own_logs", "-s", "plan.json"), ">&- 2>&-"),
    ],
)
def test_what_goes_well_without_streams_ends_with_0(
    folder: Path,
    processes: Processes,
    mock_cluster: MockCluster,
    arguments: tuple[str, ...],
    streams: str,
) -> None:
    common = ("-A", "own_tasks", "-b", mock_cluster.bootstrap)
    process = processes.start(command(*arguments, *common, streams=streams), cwd=folder)
    marker = folder / "marker"
    wait_until(
        lambda: not process.is_running or (marker.exists() and "ready" in marker.read_text()),
        timeout=60,
        what="its start",
    )

    log = folder / "log"
    assert process.stop() == 0, log.read_text() if log.exists() else "it has not come so far"
    assert "Traceback" not in process.text
