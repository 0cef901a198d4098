from __future__ import annotations

from collections.abc import Sequence

import pytest

from taskq.running.runresult import FAILED, SUCCEEDED, Result
from taskq.worker.delivery import Delivery
from taskq.worker.pools import reports
from taskq.worker.pools.reports import BATCH, Reports
from tests.support.pools import delivery_of

DONE: Result = (SUCCEEDED, 0.0, None, None)


class Desk:
    """Keeps what was reported together; no time passes."""

    def __init__(self) -> None:
        self.reported: list[list[Delivery]] = []
        self.reports = Reports(self._take)
        self.reports.flush()

    def _take(self, results: Sequence[tuple[Delivery, Result]]) -> None:
        self.reported.append([delivery for delivery, _ in results])


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(reports, "perf_counter", lambda: 7.0)
    return Desk()


def _short() -> Delivery:
    return delivery_of("a", cost_ns=1000)


def test_success_before_a_short_task_waits_for_its_end(desk: Desk) -> None:
    first, second = _short(), _short()

    desk.reports.add(first, DONE, following=second)
    assert not desk.reported
    desk.reports.add(second, DONE, following=None)

    assert desk.reported == [[first, second]]


def test_success_before_a_task_that_may_take_long_is_reported_at_once(desk: Desk) -> None:
    first = _short()

    desk.reports.add(first, DONE, following=delivery_of("a", cost_ns=-1))

    assert desk.reported == [[first]]


@pytest.mark.parametrize(
    "result",
    [(FAILED, 0.0, None, ("failed", "no", "", [])), (SUCCEEDED, 0.0, None, ("", "", "", []))],
)
def test_what_something_follows_from_is_reported_at_once(desk: Desk, result: Result) -> None:
    first = _short()

    desk.reports.add(first, result, following=_short())

    assert desk.reported == [[first]]


def test_no_more_wait_than_a_batch(desk: Desk) -> None:
    for _ in range(2 * BATCH + 1):
        desk.reports.add(_short(), DONE, following=_short())

    assert [len(each) for each in desk.reported] == [BATCH, BATCH]


def test_after_a_millisecond_nothing_waits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _short(), _short()
    desk.reports.add(first, DONE, following=second)

    monkeypatch.setattr(reports, "perf_counter", lambda: 7.0 + reports.REPORT_AFTER)
    desk.reports.add(second, DONE, following=_short())

    assert desk.reported == [[first, second]]


def test_flush_reports_what_waits_and_nothing_twice(desk: Desk) -> None:
    first = _short()
    desk.reports.add(first, DONE, following=_short())

    desk.reports.flush()
    desk.reports.flush()

    assert desk.reported == [[first]]
