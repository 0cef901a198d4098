from __future__ import annotations

import signal
import sys

import pytest

from taskq import earlystop
from taskq.exitcodes import INTERRUPTED


@pytest.mark.parametrize(
    ("arguments", "interpreter"),
    [
        (["/venv/bin/taskq", "queues"], ["python", "/venv/bin/taskq", "queues"]),
        (["-m", "queues"], ["python", "-u", "-m", "taskq", "queues"]),
        (["-m", "queues"], ["python", "-mtaskq", "queues"]),
        (["/lib/taskq/__main__.py", "queues"], ["python", "-m", "taskq", "queues"]),
    ],
)
def test_the_script_and_the_module_are_the_command(
    arguments: list[str], interpreter: list[str]
) -> None:
    assert earlystop.is_command(arguments, interpreter)


@pytest.mark.parametrize(
    ("arguments", "interpreter"),
    [
        (["shop.py"], ["python", "shop.py"]),
        (["-m"], ["python", "-m", "shop", "taskq"]),
        (["-m"], ["python", "-m", "pytest", "-m", "taskq"]),
        (["-m"], ["python", "-m", "taskq.worker.pools.child"]),
        (["-c"], ["python", "-c", "import taskq"]),
        ([""], ["python"]),
        ([], []),
    ],
)
def test_a_program_that_uses_the_package_is_not(
    arguments: list[str], interpreter: list[str]
) -> None:
    assert not earlystop.is_command(arguments, interpreter)


def test_the_usual_ctrl_c_is_back_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["taskq"])

    earlystop.begin()
    between = signal.getsignal(signal.SIGINT)
    earlystop.end()

    assert between is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_ctrl_c_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["taskq"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        earlystop.begin()
        earlystop.end()

        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_its_code_is_that_of_all_commands() -> None:
    assert earlystop.INTERRUPTED == INTERRUPTED
