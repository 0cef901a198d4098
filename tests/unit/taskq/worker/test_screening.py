from __future__ import annotations

import pytest

from taskq.message import JSON_ONLY
from taskq.worker.delivery import Delivery
from taskq.worker.screening import Early, Expired, Refused, Revoked, Screen
from tests.support.clock import START
from tests.support.fake_broker import isolated_app
from tests.support.pools import PlainRecord, record_of


@pytest.fixture
def screen() -> Screen:
    app, _ = isolated_app()
    app.task("invoice", aliases=("old.invoice",))(lambda: None)
    app.task("limited", time_limit=30)(lambda: None)
    app.task("late", acks_late=True, max_deliveries=2)(lambda: None)
    app.task("quiet", acks_late=True, max_deliveries=2, dead_letter=False)(lambda: None)
    return Screen(app.registry, JSON_ONLY)


def test_a_known_task_is_to_be_run_under_its_own_name(screen: Screen) -> None:
    verdict = screen.judge(record_of("old.invoice"), START)

    assert isinstance(verdict, Delivery)
    assert verdict.task == "invoice"


def test_an_unknown_task_is_refused_with_the_nearest_name(screen: Screen) -> None:
    verdict = screen.judge(record_of("invoce"), START)

    assert isinstance(verdict, Refused)
    assert verdict.reason == "unknown_task"
    assert "'invoice'" in verdict.error
    assert verdict.envelope is not None


@pytest.mark.parametrize(
    "record",
    [
        PlainRecord(value=b"{"),
        PlainRecord(value=b"[]", headers=[("task", b"\xff"), ("id", b"x")]),
        PlainRecord(value=b"[" * 100_000),
        PlainRecord(value=b"[]", headers=[("task", None), ("id", b"x")]),
    ],
)
def test_what_cannot_be_read_is_refused(screen: Screen, record: PlainRecord) -> None:
    verdict = screen.judge(record, START)

    assert isinstance(verdict, Refused)
    assert verdict.reason == "unreadable"


def test_what_cannot_be_run_keeps_its_name_where_that_can_be_read(screen: Screen) -> None:
    record = PlainRecord(headers=[("task", b"invoice"), ("id", b"x"), ("retries", b"many")])

    verdict = screen.judge(record, START)

    assert isinstance(verdict, Refused)
    assert verdict.reason == "unreadable"
    assert verdict.envelope is not None
    assert (verdict.envelope.task, verdict.envelope.id) == ("invoice", "x")


@pytest.mark.parametrize(
    ("extra", "limit"), [({}, 30), ({"timelimit": [5, 3]}, 5), ({"timelimit": [None, None]}, 30)]
)
def test_a_message_has_the_time_limit_of_its_task_unless_it_brings_one(
    screen: Screen, extra: dict[str, object], limit: float
) -> None:
    verdict = screen.judge(record_of("limited", extra=extra), START)

    assert isinstance(verdict, Delivery)
    assert verdict.time_limit == limit


def test_what_lost_its_offset_is_refused(screen: Screen) -> None:
    verdict = screen.judge(record_of("invoice", offset_expired=True), START)

    assert isinstance(verdict, Refused)
    assert verdict.reason == "offset_expired"


def test_a_task_expires_at_its_instant(screen: Screen) -> None:
    def judged(expires: str) -> object:
        return screen.judge(record_of("invoice", extra={"expires": expires}), START)

    assert isinstance(judged("2026-11-23T17:00:00+00:00"), Expired)
    assert isinstance(judged("2026-11-23T17:00:00.001Z"), Delivery)


FUTURE = ("eta", b"2099-01-01T00:00:00Z")


@pytest.mark.parametrize("task", ["invoice", "not here yet"])
def test_what_has_an_eta_that_has_not_come_is_early_whether_its_task_is_known_or_not(
    screen: Screen, task: str
) -> None:
    record = PlainRecord(headers=[("task", task.encode()), ("id", b"x"), FUTURE])

    assert isinstance(screen.judge(record, START), Early)


def test_what_has_waited_among_the_timers_is_run_whatever_our_clock_says(screen: Screen) -> None:
    fired = ("taskq-fired", b"1")
    record = PlainRecord(headers=[("task", b"invoice"), ("id", b"x"), FUTURE, fired])

    assert isinstance(screen.judge(record, START), Delivery)


@pytest.mark.parametrize("headers", [[], [FUTURE], [("expires", b"2001-01-01T00:00:00Z")]])
def test_what_was_revoked_is_not_run_and_not_moved(headers: list[tuple[str, bytes]]) -> None:
    app, _ = isolated_app()
    app.task("invoice")(lambda: None)
    revoked: set[str] = set()
    screen = Screen(app.registry, JSON_ONLY, revoked)
    record = PlainRecord(headers=[("task", b"invoice"), ("id", b"x"), *headers])
    before = screen.judge(record, START)

    revoked.add("x")

    assert not isinstance(before, Revoked)
    assert isinstance(screen.judge(record, START), Revoked)


def test_what_was_at_work_when_a_worker_died_is_a_suspect_if_it_settles_late(
    screen: Screen,
) -> None:
    late = screen.judge(record_of("late", deliveries=1, is_suspect=True), START)
    early = screen.judge(record_of("invoice", deliveries=1, is_suspect=True), START)

    assert isinstance(late, Delivery)
    assert isinstance(early, Delivery)
    assert (late.late, late.is_suspect) == (True, True)
    assert (early.late, early.is_suspect) == (False, False)


def test_what_too_many_processes_died_of_is_refused(screen: Screen) -> None:
    once = screen.judge(record_of("late", deliveries=2, deaths=1), START)
    twice = screen.judge(record_of("late", deliveries=3, deaths=2), START)
    quiet = screen.judge(record_of("quiet", deliveries=3, deaths=2), START)

    assert isinstance(once, Delivery)
    assert isinstance(twice, Refused)
    assert isinstance(quiet, Refused)
    assert (twice.reason, twice.is_wanted) == ("worker_died", True)
    assert "2 processes died" in twice.error
    assert not quiet.is_wanted
