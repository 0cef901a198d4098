from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, NoReturn

import pytest

from taskq.app import App
from taskq.logs import LogPlan
from taskq.running.calling import Call
from taskq.running.executor import Executor
from taskq.running.forkedends import end_if_forked
from tests.support.fake_broker import isolated_app
from tests.support.pools import record_of

OTHER = 1  # no test runs as this process


class Left(BaseException):
    """What leaving the process is here."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@pytest.fixture(autouse=True)
def leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> NoReturn:
        raise Left(code)

    monkeypatch.setattr(os, "_exit", leave)


def test_who_called_the_function_goes_on() -> None:
    end_if_forked(os.getpid(), SystemExit(3))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (SystemExit(), 0, ""),
        (SystemExit(3), 3, ""),
        (SystemExit(-1), 255, ""),
        (SystemExit("no luck"), 1, "no luck\n"),
        (ValueError("no luck"), 1, "ValueError: no luck\n"),
    ],
)
def test_another_process_leaves_as_a_program_would(
    error: BaseException | None, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Left) as left:
        end_if_forked(OTHER, error)

    assert left.value.code == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_forked_process_reports_nothing_of_its_task(
    monkeypatch: pytest.MonkeyPatch, *, is_async: bool, fails: bool
) -> None:
    app, _ = isolated_app()

    def fork() -> None:
        monkeypatch.setattr(os, "getpid", lambda: OTHER)
        if fails:
            raise SystemExit(3)

    async def fork_async() -> None:
        fork()

    _register(app, fork_async if is_async else fork)

    with pytest.raises(Left) as left:
        _run(app, is_async=is_async)

    assert left.value.code == (3 if fails else 0)


def _register(app: App, function: Any) -> None:
    app.task("fork")(function)


def _run(app: App, *, is_async: bool) -> None:
    executor = Executor(app, LogPlan(logging.INFO, logging.INFO, whole=False))
    call = executor.prepare(record_of("fork"))
    assert isinstance(call, Call)
    if is_async:
        asyncio.run(executor.run_async(call))
    else:
        executor.run(call)
