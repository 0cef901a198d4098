"""The README's code runs as it stands there, and its commands are those that CI runs."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.kafka import Kafka
from tests.support.processes import ROOT, Processes

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Return the README's command lines."""
    return re.findall(r"^\$ (.*)$", "".join(blocks("console")), re.MULTILINE)


def test_ci_runs_the_command_of_the_tests() -> None:
    tests = next(line for line in commands() if line.endswith("tox"))

    assert tests in (ROOT / ".ci" / "run").read_text().splitlines()


def test_command_of_the_main_job_runs_the_example() -> None:
    main_job = commands()[0]

    assert (ROOT / main_job.split()[-1]).is_file()


def test_ten_lines_send_a_task_that_runs(
    kafka: Kafka, processes: Processes, tmp_path: Path
) -> None:
    (code,) = blocks("python")
    (tmp_path / "tasks.py").write_text(code)
    env = {"TASKQ_BROKER": kafka.bootstrap}
    worker_line = next(line for line in commands() if line.startswith("taskq worker"))

    worker = processes.taskq(*worker_line.split()[1:], env=env)
    sender = processes.python("tasks.py", env=env)

    id = sender.wait_for_line(r"^[0-9a-f-]{36}$", timeout=30)[0]
    worker.wait_for_line(rf"invoice.*{id}|{id}.*invoice", timeout=30)
    assert worker.stop() == 0
