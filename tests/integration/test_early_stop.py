"""Asked to stop before it is ready: while its app is imported, and while a broker takes the connection and never answers."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Process, Processes

SLOW = """
import sys, threading
print("importing", file=sys.stderr, flush=True)
try:
    threading.Event().wait(60)
except Exception:
    pass
"""

APP = """
from taskq import App
app = App()

@app.task("t", cron="0 5 * * *")
def t() -> None: ...
"""

STOPPED = "stopped before it was ready"


@pytest.fixture
def silent_broker() -> Iterator[socket.socket]:
    """Yield a socket that takes connections for a broker, which never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def start(
    processes: Processes, folder: Path, command: str, server: socket.socket, text: str
) -> Process:
    (folder / "early_app.py").write_text(text)
    broker = f"127.0.0.1:{server.getsockname()[1]}"
    more = ["-c", "1"] if command == "worker" else []
    env = {"TASKQ_CONNECT_TIMEOUT": "60"}
    return processes.taskq(command, "-A", "early_app", "-b", broker, *more, cwd=folder, env=env)


@pytest.mark.parametrize("command", ["worker", "beat"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_broker_does_not_answer_ends_it_with_0(
    processes: Processes,
    tmp_path: Path,
    silent_broker: socket.socket,
    command: str,
    number: signal.Signals,
) -> None:
    process = start(processes, tmp_path, command, silent_broker, APP)
    connection, _ = silent_broker.accept()

    process.signal(number)

    with connection:
        assert process.wait() == 0, process.text
    assert [line for line in process.text.splitlines() if STOPPED in line]
    assert "Traceback" not in process.text
    process.wait_gone()


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_a_signal_while_the_app_is_imported_ends_it_with_0(
    processes: Processes, tmp_path: Path, silent_broker: socket.socket, command: str
) -> None:
    process = start(processes, tmp_path, command, silent_broker, SLOW)
    process.wait_for_line("importing", timeout=60)

    process.signal(signal.SIGTERM)

    assert process.wait() == 0, process.text
    assert process.text == f"importing\ntaskq: {STOPPED}\n"


@pytest.mark.parametrize("late", ["dataclasses", "click"])
def test_ctrl_c_while_the_command_is_imported_ends_it_without_a_word(
    processes: Processes, tmp_path: Path, late: str
) -> None:
    """The one module is imported by the package, the other by its command line."""
    (tmp_path / f"{late}.py").write_text(SLOW)
    process = processes.taskq("queues", cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    process.wait_for_line("importing", timeout=60)

    process.signal(signal.SIGINT)

    assert process.wait() == 130, process.text
    assert process.text == "importing\n"
