"""The README's code runs as it stands there, and its commands are those that CI runs."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

from tests.support.kafka import Kafka
from tests.support.processes import ROOT, Processes, process_table

README = (ROOT / "README.md").read_text()
INSTALL = ["python3 -m venv .venv", ".venv/bin/pip install -q ."]


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Return the README's command lines."""
    return re.findall(r"^\$ (.*)$", "".join(blocks("console")), re.MULTILINE)


def arguments_of(start: str) -> list[str]:
    """Return the words behind `taskq` of the first command that begins so."""
    return next(line for line in commands() if line.startswith(start)).split()[1:]


def test_ci_runs_the_command_of_the_tests() -> None:
    tests = next(line for line in commands() if line.endswith("tox"))

    assert tests in (ROOT / ".ci" / "run").read_text().splitlines()


def test_first_command_shows_invoices_and_ends_with_all_its_processes(
    processes: Processes,
) -> None:
    *install, run = commands()[0].split(" && ")
    program, *arguments = run.split()
    assert (install, program) == (INSTALL, ".venv/bin/taskq")

    dev = processes.taskq(*arguments, cwd=ROOT)

    dev.wait_for_line(r"^worker \| .*processing invoice: .*'task param xyz'.*Ireland", timeout=60)
    dev.wait_for_line(r"processing invoice: param 'task param xyz', payload None", timeout=30)
    dev.wait_for_line(r"processing birthday: param 'task param xyz'", timeout=30)
    family = set(dev.family())
    dev.signal(signal.SIGINT)

    assert dev.wait(timeout=60) == 0
    assert not family & {entry.pid for entry in process_table() if not entry.is_zombie}
    assert "Traceback" not in dev.text


def test_plain_commands_stand_behind_the_activation() -> None:
    assert README.index("source .venv/bin/activate") < README.index("$ taskq ")


def test_ten_lines_run_in_one_terminal(processes: Processes, tmp_path: Path) -> None:
    (code,) = blocks("python")
    (tmp_path / "tasks.py").write_text(code)
    arguments = arguments_of("taskq dev")
    place = arguments.index("python")
    arguments[place] = sys.executable

    dev = processes.taskq(*arguments)

    id = dev.wait_for_line(r"^run    \| ([0-9a-f-]{36})$", timeout=60)[1]
    dev.wait_for_line(rf"^worker \| .*task invoice\[{id}\] succeeded", timeout=60)
    assert dev.stop(timeout=60) == 0


def test_ten_lines_send_a_task_that_runs(
    kafka: Kafka, processes: Processes, tmp_path: Path
) -> None:
    (code,) = blocks("python")
    (tmp_path / "tasks.py").write_text(code)
    env = {"TASKQ_BROKER": kafka.bootstrap}

    worker = processes.taskq(*arguments_of("taskq worker"), env=env)
    sender = processes.python("tasks.py", env=env)

    id = sender.wait_for_line(r"^[0-9a-f-]{36}$", timeout=30)[0]
    worker.wait_for_line(rf"invoice.*{id}|{id}.*invoice", timeout=30)
    assert worker.stop() == 0
