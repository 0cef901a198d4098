from __future__ import annotations

import json
import logging
import marshal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from taskq.app import App
from taskq.errortext import TRACEBACK_BYTES
from taskq.logs import LogPlan
from taskq.outcome import Ignore, Outcome, Reject, Retried, Retry
from taskq.request import Context, Request, current_request
from taskq.running.executor import Executor
from taskq.running.runresult import (
    FAILED,
    IGNORED,
    REQUEUED,
    RETRIED,
    SUCCEEDED,
    Detail,
    Result,
    Return,
    wants_dead_letter,
)
from taskq.sending.publication import Publication
from taskq.timing.timers import due_ms
from tests.support.clock import FakeClock
from tests.support.fake_broker import isolated_app
from tests.support.pools import PlainRecord, record_of

PLAN = LogPlan(logging.INFO, logging.INFO, whole=False)


@pytest.fixture
def app() -> App:
    app, _ = isolated_app()
    return app


def _run(app: App, record: PlainRecord) -> Result:
    executor = Executor(app, PLAN)
    result = executor.execute(record)
    executor.close()
    assert marshal.loads(marshal.dumps(result)) == result
    return result


def _detail(result: Result) -> Detail:
    assert result[3] is not None
    assert result[0] not in (RETRIED, REQUEUED)
    return cast(Detail, result[3])


def _return(result: Result) -> Return:
    assert result[0] in (RETRIED, REQUEUED)
    return cast(Return, result[3])


def _signature(task: str, *args: Any, **options: Any) -> dict[str, Any]:
    return {"task": task, "args": args, "kwargs": {}, "options": options}


def test_what_expired_behind_another_is_not_run(app: App) -> None:
    got: list[Any] = []
    app.task("a")(lambda: got.append("ran"))

    kind, _, line, detail = _run(app, record_of("a", extra={"expires": "2001-01-01T00:00:00Z"}))

    assert (got, kind, detail) == ([], IGNORED, None)
    assert "expired" in str(line)


def test_a_function_gets_its_arguments(app: App) -> None:
    got: list[Any] = []
    app.task("a")(lambda *args: got.append(args))

    kind, runtime, line, detail = _run(app, record_of("a", 1, "two"))

    assert got == [(1, "two")]
    assert (kind, detail) == (SUCCEEDED, None)
    assert runtime > 0
    assert line is not None


def test_an_alias_runs_the_task_under_its_own_name(app: App) -> None:
    app.task("a", aliases=("old",))(lambda: None)

    assert (_run(app, record_of("old"))[2] or "").startswith("task a[")


def test_the_request_is_current_only_during_the_run(app: App) -> None:
    seen: list[Request | None] = []
    app.task("a")(lambda: seen.append(current_request()))

    _run(app, record_of("a", id="7", partition=3, offset=12, redelivered=True))

    (request,) = seen
    assert request is not None
    assert (request.id, request.queue, request.partition, request.offset) == ("7", "q", 3, 12)
    assert request.redelivered
    assert request.group == "taskq"
    assert current_request() is None


def test_async_functions_run_and_leave_nothing_running(app: App) -> None:
    import asyncio

    ends: list[str] = []

    @app.task("a")
    async def a() -> None:
        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ends.append("cancelled")

        app.left = asyncio.ensure_future(forever())  # type: ignore[attr-defined]  # kept from the collector
        await asyncio.sleep(0)

    executor = Executor(app, PLAN)
    first, second = executor.execute(record_of("a")), executor.execute(record_of("a"))
    executor.close()

    assert (first[0], second[0]) == (SUCCEEDED, SUCCEEDED)
    assert ends == ["cancelled", "cancelled"]


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]
)
def test_whatever_a_function_raises_is_its_failure(app: App, error: BaseException) -> None:
    @app.task("a")
    def a() -> None:
        raise error

    result = _run(app, record_of("a"))

    assert result[0] == FAILED
    assert _detail(result)[0] == "failed"
    assert _detail(result)[1].startswith(type(error).__name__)


def test_the_traceback_begins_at_the_users_function_and_keeps_its_end(app: App) -> None:
    @app.task("a")
    def a() -> None:
        raise ValueError("y" * 50_000)

    trace = _detail(_run(app, record_of("a")))[2]

    assert len(trace.encode()) <= TRACEBACK_BYTES
    assert trace.endswith("y\n")

    @app.task("b")
    def b() -> None:
        raise ValueError("short")

    lines = _detail(_run(app, record_of("b")))[2].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "test_executor.py" in lines[1]


def test_ignore_is_neither_failure_nor_dead_letter(app: App) -> None:
    @app.task("a")
    def a() -> None:
        raise Ignore("not today")

    kind, _, line, detail = _run(app, record_of("a"))

    assert (kind, detail) == (IGNORED, None)
    assert (line or "").endswith("s: not today")


def test_reject_goes_to_the_dead_letters_also_where_failures_do_not(app: App) -> None:
    @app.task("a", dead_letter=False)
    def a() -> None:
        raise Reject("bad invoice")

    assert _detail(_run(app, record_of("a")))[:2] == ("rejected", "Reject: bad invoice")


def test_a_task_that_wants_no_dead_letter_has_no_reason(app: App) -> None:
    @app.task("a", dead_letter=False)
    def a() -> None:
        raise ValueError("x")

    result = _run(app, record_of("a"))

    assert result[0] == FAILED
    assert _detail(result)[0] == ""
    assert not wants_dead_letter("worker_died", app.registry.get("a"))
    assert wants_dead_letter("bad_arguments", app.registry.get("a"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"not json", "unreadable"),
        (b"[1, 2]", "unreadable"),
        (b"[{}, [], null]", "unreadable"),
        (b'[[], {}, {"chord": {"task": "x"}}]', "unsupported"),
        (b"[" * 200_000, "unreadable"),
        (b"[[1, 2, 3], {}, null]", "bad_arguments"),
        (b'[[], {"x": 1}, null]', "bad_arguments"),
    ],
)
def test_what_cannot_be_run_is_refused_with_its_reason(app: App, value: bytes, reason: str) -> None:
    @app.task("a")
    def a() -> None:
        raise AssertionError("it ran")

    record = record_of("a")
    record.value = value
    result = _run(app, record)

    assert result[0] == FAILED
    assert _detail(result)[0] == reason


def test_callbacks_and_the_chain_are_sent_with_the_result(app: App) -> None:
    app.task("a")(lambda: 5)
    app.task("next", queue="billing")(lambda *args: None)
    embed = {"callbacks": [_signature("other", 1)], "chain": [_signature("next")]}

    result = _run(app, record_of("a", embed=embed))

    reason, _, _, messages = _detail(result)
    assert (result[0], reason) == (SUCCEEDED, "")
    assert [(queue, json.loads(value)[0]) for queue, value, _ in messages] == [
        ("taskq", [5, 1]),
        ("billing", [5]),
    ]


def test_errbacks_are_sent_after_a_failure(app: App) -> None:
    @app.task("a")
    def a() -> None:
        raise ValueError("x")

    result = _run(app, record_of("a", id="7", embed={"errbacks": [_signature("alarm")]}))

    ((queue, value, headers),) = _detail(result)[3]
    assert queue == "taskq"
    assert json.loads(value)[0] == ["7"]
    assert dict(headers)["task"] == b"alarm"


def test_a_result_that_cannot_be_sent_on_is_a_failure(app: App) -> None:
    app.task("a")(lambda: object())

    result = _run(app, record_of("a", embed={"chain": [_signature("next")]}))

    assert result[0] == FAILED
    assert _detail(result)[1].startswith("EncodeError")


def test_hooks_see_request_outcome_and_error(app: App) -> None:
    seen: list[str] = []

    class Watch:
        def before_run(self, request: Request) -> None:
            seen.append(f"before {request.id}")
            raise RuntimeError("a hook's own trouble")

        def after_run(self, request: Request, outcome: Outcome) -> None:
            seen.append(f"after {type(outcome).__name__}")

        def on_failure(self, request: Request, error: BaseException) -> None:
            seen.append(f"failure {error}")

    @app.task("a")
    def a(fail: bool) -> None:
        if fail:
            raise ValueError("x")

    app.middleware.append(Watch())
    _run(app, record_of("a", False, id="1"))
    _run(app, record_of("a", True, id="2"))

    assert seen == ["before 1", "after Succeeded", "before 2", "failure x", "after Failed"]


@pytest.mark.parametrize("name", ["before_run", "after_run", "on_failure"])
def test_a_hook_that_exits_changes_nothing_for_the_task(app: App, name: str) -> None:
    app.on(name)(lambda *_: sys.exit(3))
    app.task("good")(lambda: 1)
    app.task("bad")(lambda: 1 / 0)

    assert _run(app, record_of("good"))[0] == SUCCEEDED
    assert _detail(_run(app, record_of("bad")))[:2] == (
        "failed",
        "ZeroDivisionError: division by zero",
    )


def test_a_hook_gives_headers_to_what_follows_a_run(app: App) -> None:
    seen: list[tuple[str, str, bool, Request | None]] = []

    @app.on("before_publish")
    def trace(publication: Publication) -> None:
        place = (publication.task, publication.queue)
        seen.append((*place, publication.is_followup, current_request()))
        publication.headers["trace"] = "7"

    app.on("before_publish")(lambda publication: sys.exit(3))
    app.task("a")(lambda: 5)
    embed = {"chain": [_signature("next", headers={"own": "1"})]}

    result = _run(app, record_of("a", id="1", embed=embed))

    ((_, _, headers),) = _detail(result)[3]
    written = dict(headers)
    assert (written["trace"], written["own"], written["parent_id"]) == (b"7", b"1", b"1")
    [(task, queue, is_followup, request)] = seen
    assert (task, queue, is_followup) == ("next", "taskq", True)
    assert request is not None
    assert request.id == "1"


# Retries


def test_an_error_that_is_named_is_retried(app: App) -> None:
    @app.task("a", autoretry_for=(OSError,), retry_backoff=4, retry_jitter=False)
    def a() -> None:
        raise ConnectionError("away")

    clock = FakeClock()
    result = Executor(app, PLAN, clock).execute(record_of("a", id="7", extra={"retries": 1}))

    due, error, trace = _return(result)
    assert result[0] == RETRIED
    assert due == due_ms(clock.now() + timedelta(seconds=8))
    assert error == "ConnectionError: away"
    assert trace.startswith("Traceback")
    assert result[2] == "task a[7] will be retried in 8 s (2 of 3): ConnectionError: away"


def test_other_errors_are_not(app: App) -> None:
    @app.task("a", autoretry_for=(OSError,), dont_autoretry_for=(PermissionError,))
    def a(error: str) -> None:
        raise PermissionError if error else ValueError

    assert [_run(app, record_of("a", each))[0] for each in ("", "x")] == [FAILED, FAILED]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_task_may_ask_for_its_retry(app: App, is_async: bool) -> None:
    def ask(self: Context) -> None:
        try:
            raise ValueError("no")
        except ValueError as error:
            self.retry(exc=error, countdown=0)

    async def ask_async(self: Context) -> None:
        ask(self)

    app.task("a", bind=True)(ask_async if is_async else ask)
    result = _run(app, record_of("a"))

    assert _return(result)[:2] == (0, "ValueError: no")
    assert "will be retried at once (1 of 3)" in str(result[2])


@pytest.mark.parametrize(
    ("retry", "error"),
    [
        (lambda: Retry(countdown=1), "KeyError: 'handled'"),
        (lambda: Retry("try later", countdown=1, exc=ValueError("told")), "ValueError: told"),
    ],
)
def test_the_error_of_a_retry_is_what_was_told_or_handled(
    app: App, retry: Callable[[], Retry], error: str
) -> None:
    @app.task("a")
    def a() -> None:
        try:
            raise KeyError("handled")
        except KeyError:
            raise retry()  # noqa: B904 - as users write it

    _, text, trace = _return(_run(app, record_of("a")))

    assert text == error
    assert "test_executor.py" in trace


def test_a_retry_without_an_error_says_its_reason(app: App) -> None:
    @app.task("a")
    def a() -> None:
        raise Retry("not yet", countdown=1)

    assert _return(_run(app, record_of("a")))[1] == "Retry: not yet"


def test_the_last_failure_is_a_dead_letter_with_its_error(app: App) -> None:
    @app.task("a", autoretry_for=(OSError,), max_retries=2)
    def a() -> None:
        raise ConnectionError("away")

    result = _run(app, record_of("a", extra={"retries": 2}))

    reason, error, trace, _ = _detail(result)
    assert (reason, error) == ("retries_exhausted", "ConnectionError: away")
    assert trace.endswith("ConnectionError: away\n")


def test_a_retry_that_cannot_be_is_a_failure_that_says_so(app: App) -> None:
    @app.task("a")
    def a() -> None:
        raise Retry(countdown=-1)

    reason, error, trace, _ = _detail(_run(app, record_of("a")))

    assert reason == "failed"
    assert "countdown must be 0 or more seconds" in error
    assert "raise Retry(countdown=-1)" in trace


def test_a_task_that_wants_no_dead_letter_has_none_after_its_retries(app: App) -> None:
    @app.task("a", autoretry_for=(OSError,), max_retries=0, dead_letter=False)
    def a() -> None:
        raise OSError

    assert _detail(_run(app, record_of("a")))[0] == ""


def test_hooks_and_errbacks_tell_a_retry_from_the_last_failure(app: App) -> None:
    seen: list[str] = []
    app.on("on_retry")(lambda request, error: seen.append(f"retry {error}"))
    app.on("on_failure")(lambda request, error: seen.append(f"failure {error}"))
    app.on("after_run")(lambda request, outcome: seen.append(type(outcome).__name__))

    @app.task("a", autoretry_for=(ValueError,), max_retries=1)
    def a() -> None:
        raise ValueError("x")

    embed = {"errbacks": [_signature("alarm")]}
    first = _run(app, record_of("a", embed=embed))
    last = _run(app, record_of("a", embed=embed, extra={"retries": 1}))

    assert seen == ["retry x", "Retried", "failure x", "Failed"]
    assert first[0] == RETRIED
    assert len(_detail(last)[3]) == 1


def test_the_outcome_of_a_retry_says_when(app: App) -> None:
    found: list[Outcome] = []
    app.on("after_run")(lambda request, outcome: found.append(outcome))
    clock = FakeClock()

    @app.task("a")
    def a() -> None:
        raise Retry("later", countdown=5)

    Executor(app, PLAN, clock).execute(record_of("a"))

    (outcome,) = found
    assert isinstance(outcome, Retried)
    assert (outcome.error, outcome.retries) == ("Retry: later", 1)
    assert outcome.eta == clock.now() + timedelta(seconds=5)


def test_a_message_may_go_back_to_its_queue(app: App) -> None:
    redelivered: list[bool] = []

    @app.task("a", bind=True)
    def a(self: Context) -> None:
        redelivered.append(self.request.redelivered)
        raise Reject("not mine", requeue=True)

    clock = FakeClock()
    first = Executor(app, PLAN, clock).execute(record_of("a"))
    third = Executor(app, PLAN, clock).execute(record_of("a", extra={"taskq-requeued": "2"}))

    assert (first[0], _return(first)) == (REQUEUED, (0, "Reject: not mine", ""))
    assert _return(third)[0] == due_ms(clock.now() + timedelta(seconds=2))
    assert redelivered == [False, True]


def test_a_direct_call_raises_the_error_itself(app: App) -> None:
    @app.task("a", bind=True)
    def a(self: Context, error: bool) -> None:
        try:
            if error:
                raise KeyError("handled")
        except KeyError:
            self.retry(countdown=1)
        self.retry(countdown=1)

    with pytest.raises(KeyError, match="handled"):
        a(True)
    with pytest.raises(Retry):
        a(False)


def test_unknown_options_of_retry_are_told_the_nearest(app: App) -> None:
    @app.task("a", bind=True)
    def a(self: Context) -> None:
        self.retry(countdwn=1)  # type: ignore[arg-type]  # the mistake

    assert "did you mean 'countdown'" in _detail(_run(app, record_of("a")))[1]
    with pytest.raises(TypeError, match="exc is an exception"):
        Retry(exc=ValueError)  # type: ignore[arg-type]  # the mistake
