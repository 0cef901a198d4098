from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import Any, cast

import pytest

from taskq.errors import SoftTimeLimitExceeded, TimeLimitExceeded
from taskq.logs import LogPlan, TaskLines
from taskq.running.runresult import FAILED, RETRIED, Detail, Result
from taskq.worker.overruns import after_overrun, is_overrun
from tests.support.fake_broker import isolated_app
from tests.support.pools import delivery_of

ERROR = "TimeLimitExceeded: it ran longer than its time_limit of 30 s"
OVERRUN: Result = (FAILED, 30.0, None, ("time_limit", ERROR, "", []))
NOW = datetime(2026, 11, 23, 17, tzinfo=timezone.utc)


def judged(retries: int = 0, **options: Any) -> Result:
    app, _ = isolated_app()
    found = app.task("a", **options)(lambda: None)
    delivery = delivery_of("a", limits=(30.0, None), extra={"retries": retries})
    lines = TaskLines(LogPlan(logging.INFO, logging.INFO, whole=False))
    return after_overrun(found, delivery, OVERRUN, lines=lines, now=NOW, dice=0.5)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (OVERRUN, True),
        ((FAILED, 0.1, "line", ("time_limit", "SoftTimeLimitExceeded", "trace", [])), False),
        ((FAILED, 0.1, None, ("worker_died", "killed", "", [])), False),
        ((RETRIED, 0.1, None, (0, "time_limit", "")), False),
    ],
)
def test_overruns_are_told_from_runs_that_could_ask_themselves(
    result: Result, expected: bool
) -> None:
    assert is_overrun(result) is expected


def test_an_overrun_is_retried_if_the_task_wants_it() -> None:
    kind, runtime, line, detail = judged(autoretry_for=TimeLimitExceeded, default_retry_delay=0)

    assert (kind, runtime, detail) == (RETRIED, 30.0, (0, ERROR, ""))
    assert "will be retried" in (line or "")
    assert "(1 of 3)" in (line or "")


@pytest.mark.parametrize("wanted", [(), OSError, SoftTimeLimitExceeded])
def test_an_overrun_stays_one_if_the_task_wants_no_retry(wanted: Any) -> None:
    assert judged(autoretry_for=wanted) is OVERRUN


def test_the_last_overrun_has_no_retry_left() -> None:
    kind, _, _, detail = judged(3, autoretry_for=TimeLimitExceeded)

    assert (kind, cast("Detail", detail)[:2]) == (FAILED, ("retries_exhausted", ERROR))


def test_a_retry_at_a_time_that_cannot_be_is_a_failure() -> None:
    kind, _, _, detail = judged(autoretry_for=TimeLimitExceeded, default_retry_delay=1e300)

    assert kind == FAILED
    assert cast("Detail", detail)[0] == "failed"
    assert "InvalidArguments" in cast("Detail", detail)[1]
