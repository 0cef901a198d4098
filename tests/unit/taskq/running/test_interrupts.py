from __future__ import annotations

import contextlib
from typing import Any

import pytest

from taskq import Ignore, Terminated
from taskq.app import App
from taskq.logs import LogPlan
from taskq.outcome import Ignored, Outcome
from taskq.request import Request
from taskq.running.calling import Call
from taskq.running.executor import Executor
from taskq.running.interrupts import Interrupts
from taskq.running.runresult import REVOKED, SUCCEEDED, Result
from tests.support.fake_broker import isolated_app
from tests.support.pools import record_of

PLAN = LogPlan(level=20, task_level=20, whole=False)


class Stage:
    """An app whose one task ends itself, as another thread would."""

    def __init__(self) -> None:
        self.app, _ = isolated_app()
        self.outcomes: list[Outcome] = []
        self.app.middleware.append(self)
        self.call: Call | None = None
        self.asked: list[bool] = []

    def after_run(self, _request: Request, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def run(self, app: App, task: str) -> Result:
        """Run the task, which calls `end`."""
        self.executor = Executor(app, PLAN, interrupts=Interrupts())
        prepared = self.executor.prepare(record_of(task))
        assert isinstance(prepared, Call)
        self.call = prepared
        self.asked.append(self.executor.end(prepared))
        try:
            return self.executor.run(prepared)
        finally:
            self.asked.append(self.executor.end(prepared))
            self.executor.close()

    def end(self) -> None:
        assert self.call is not None
        self.asked.append(self.executor.end(self.call))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def _spin() -> Any:
    while True:
        pass


def test_run_that_is_ended_is_revoked_and_its_hook_is_told(stage: Stage) -> None:
    @stage.app.task("a")
    def a() -> None:
        stage.end()
        _spin()

    result = stage.run(stage.app, "a")

    assert (result[0], result[3]) == (REVOKED, ("", "ended with Terminated", "", []))
    assert stage.outcomes == [Ignored("revoked")]


def test_run_is_ended_only_while_its_function_runs_and_once(stage: Stage) -> None:
    @stage.app.task("a")
    def a() -> None:
        assert stage.call is not None
        try:
            stage.executor.end(stage.call)
            _spin()
        except Terminated:
            stage.end()

    result = stage.run(stage.app, "a")

    assert stage.asked == [False, False, False]
    assert result[0] == SUCCEEDED


@pytest.mark.parametrize("error", [ValueError("no"), Ignore("no")])
def test_whatever_an_ended_function_raises_it_counts_as_revoked(
    stage: Stage, error: Exception
) -> None:
    @stage.app.task("a", autoretry_for=ValueError)
    def a() -> None:
        try:
            stage.end()
            _spin()
        except Terminated:
            raise error from None

    assert stage.run(stage.app, "a")[0] == REVOKED


def test_termination_passes_a_loop_that_shrugs_off_errors(stage: Stage) -> None:
    @stage.app.task("a")
    def a() -> None:
        stage.end()
        while True:
            with contextlib.suppress(Exception):
                _spin()

    assert stage.run(stage.app, "a")[0] == REVOKED


def test_termination_asked_for_in_the_last_step_is_not_raised_later(stage: Stage) -> None:
    @stage.app.task("a")
    def a() -> None:
        assert stage.call is not None
        stage.call.is_terminated = True  # as if asked for, and not raised yet

    assert stage.run(stage.app, "a")[0] == SUCCEEDED


def test_coroutine_is_cancelled_where_it_awaits(stage: Stage) -> None:
    import asyncio

    @stage.app.task("a")
    async def a() -> None:
        stage.end()
        await asyncio.Event().wait()

    result = stage.run(stage.app, "a")

    assert (result[0], result[3]) == (REVOKED, ("", "ended with CancelledError", "", []))


def test_coroutine_that_returns_all_the_same_has_succeeded(stage: Stage) -> None:
    @stage.app.task("a")
    async def a() -> None:
        stage.end()

    assert stage.run(stage.app, "a")[0] == SUCCEEDED


def test_nothing_is_ended_where_nobody_interrupts() -> None:
    app, _ = isolated_app()
    app.task("a")(lambda: None)
    executor = Executor(app, PLAN)
    prepared = executor.prepare(record_of("a"))
    assert isinstance(prepared, Call)

    assert not executor.end(prepared)
