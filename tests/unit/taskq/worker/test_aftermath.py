from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, cast

import pytest

from taskq.attempts import Attempt, read_attempts
from taskq.logs import LogPlan
from taskq.protocols import DeadLetter, Outgoing
from taskq.registry import Registry
from taskq.running.runresult import FAILED, REQUEUED, RETRIED, SUCCEEDED, Result, revoked
from taskq.timing.shards import Write
from taskq.worker.aftermath import Aftermath
from taskq.worker.delivery import Delivery
from taskq.worker.outbox import Outbox
from tests.support.clock import FakeClock
from tests.support.fake_broker import FakePublisher, isolated_app
from tests.support.fake_logs import FakeLogs
from tests.support.pools import delivery_of
from tests.support.waiting import wait_until

PLAN = LogPlan(logging.INFO, logging.INFO, whole=False)


def test_what_cannot_be_made_into_a_dead_letter_keeps_no_other_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox(FakePublisher, FakeLogs, FakeClock())
    aftermath = Aftermath(Registry(), outbox, PLAN, worker="w", clock=FakeClock())
    failed: Result = (FAILED, 0.1, "failed", ("failed", "ValueError: no", "", []))
    odd: Result = (FAILED, 0.1, "failed", ("failed", cast("Any", None), "", []))
    first, second = delivery_of("a", id="odd"), delivery_of("a")

    aftermath.conclude([(first, odd), (second, failed)])

    assert [entry.name for entry in outbox.held()] == [f"the dead letter of {second}"]
    lost = [r.getMessage() for r in caplog.records if getattr(r, "event", "") == "task.unconcluded"]
    assert len(lost) == 1
    assert "a[odd]" in lost[0]


def test_what_is_to_run_again_waits_as_a_timer_or_goes_to_its_queue() -> None:
    outbox = Outbox(FakePublisher, FakeLogs, FakeClock())
    aftermath = Aftermath(Registry(), outbox, PLAN, worker="w", clock=FakeClock())
    later: Result = (RETRIED, 0.1, "later", (2_000_000_000_000, "ValueError: no", "trace"))
    now: Result = (REQUEUED, 0.1, "now", (0, "Reject", ""))

    aftermath.conclude([(delivery_of("a"), later), (delivery_of("a"), now)])

    first, second = (entry.what for entry in outbox.held())
    assert isinstance(first, Write)
    assert isinstance(second, Outgoing)
    headers = dict(first.headers)
    assert headers["retries"] == b"1"
    (attempt,) = read_attempts(headers["taskq-attempts"].decode()).last
    assert attempt == Attempt("2026-11-23T17:00:00.000Z", "ValueError: no", "w")


@pytest.mark.parametrize("way", ["instead", "in_doubt"])
def test_a_retry_that_comes_to_nothing_is_a_dead_letter_of_its_task(way: str) -> None:
    outbox = Outbox(FakePublisher, FakeLogs, FakeClock())
    aftermath = Aftermath(Registry(), outbox, PLAN, worker="w", clock=FakeClock())
    aftermath.conclude([(delivery_of("a"), (RETRIED, 0.1, None, (0, "ValueError: no", "trace")))])
    (entry,) = outbox.held()

    letter = getattr(entry, way)("too large").what

    headers = dict(letter.headers)
    assert headers["dlq-reason"] == b"failed"
    assert headers["dlq-error"].startswith(b"ValueError: no; its retry ")
    assert headers["dlq-error"].endswith(b": too large")
    assert headers["dlq-traceback"] == b"trace"


class Told:
    """A `taskq.worker.delivery.Acks` that remembers."""

    def __init__(self) -> None:
        self.acked: list[Delivery] = []

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        self.acked += deliveries

    def died(self, delivery: Delivery) -> bool:
        return True

    def go_on(self, delivery: Delivery, again: Delivery) -> bool:
        raise AssertionError("nothing has a key")


def test_what_settles_late_is_settled_when_its_retry_is_acknowledged() -> None:
    logs = FakeLogs()
    outbox = Outbox(FakePublisher, lambda: logs, FakeClock())
    aftermath = Aftermath(Registry(), outbox, PLAN, worker="w", clock=FakeClock())
    delivery = delivery_of("a")
    delivery.acks = told = Told()

    aftermath.conclude([(delivery, (RETRIED, 0.1, None, (2_000_000_000_000, "X", "")))])
    before = list(told.acked)
    outbox.start()
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")
    outbox.close()

    assert (before, told.acked, len(logs.written)) == ([], [delivery], 1)


def test_dead_letter_tells_how_each_process_died_with_its_task_before() -> None:
    outbox = Outbox(FakePublisher, FakeLogs, FakeClock())
    aftermath = Aftermath(_with_late_task("a"), outbox, PLAN, worker="w", clock=FakeClock())
    first = delivery_of("a")
    offset = first.record.offset
    runs = [
        first,
        delivery_of("a", deliveries=1, deaths=1, offset=offset),
        delivery_of("a", deliveries=2, deaths=2, offset=offset),
    ]

    for number, delivery in enumerate(runs):
        delivery.acks = Told()
        aftermath.conclude([(delivery, _died(f"killed {number}"))])

    [entry] = outbox.held()
    headers = dict(cast(DeadLetter, entry.what).headers)
    assert headers["dlq-error"] == b"killed 2"
    assert headers["dlq-attempts"] == b"3"
    known = read_attempts(headers["dlq-deaths"].decode()).last
    assert [(each.error, each.worker) for each in known] == [("killed 0", "w"), ("killed 1", "w")]


def test_retry_tells_how_a_process_died_with_its_task_before() -> None:
    outbox = Outbox(FakePublisher, FakeLogs, FakeClock())
    aftermath = Aftermath(_with_late_task("a"), outbox, PLAN, worker="w", clock=FakeClock())
    first = delivery_of("a")
    again = delivery_of("a", deliveries=1, deaths=1, offset=first.record.offset)
    first.acks = again.acks = Told()

    aftermath.conclude([(first, _died("killed"))])
    aftermath.conclude([(again, (RETRIED, 0.1, None, (0, "ValueError: no", "")))])

    [entry] = outbox.held()
    headers = dict(cast(Outgoing, entry.what).headers)
    known = read_attempts(headers["taskq-attempts"].decode()).last
    assert [each.error for each in known] == ["killed", "ValueError: no"]


def test_deaths_of_a_task_that_succeeds_then_are_forgotten() -> None:
    outbox = Outbox(FakePublisher, FakeLogs, FakeClock())
    aftermath = Aftermath(_with_late_task("a"), outbox, PLAN, worker="w", clock=FakeClock())
    first = delivery_of("a")
    again = delivery_of("a", deliveries=1, deaths=1, offset=first.record.offset)
    first.acks = again.acks = Told()

    aftermath.conclude([(first, _died("killed"))])
    aftermath.conclude([(again, (SUCCEEDED, 0.1, None, None))])

    assert not aftermath._deaths


def _with_late_task(name: str) -> Registry:
    app, _ = isolated_app()
    app.task(name, acks_late=True, max_deliveries=3)(print)
    return app.registry


def _died(how: str) -> Result:
    return FAILED, 0.0, None, ("worker_died", how, "", [])


@pytest.mark.parametrize(("how", "runtime"), [("", 0.0), ("its process was killed", 2.5)])
def test_what_was_revoked_is_settled_and_neither_retried_nor_put_aside(
    how: str, runtime: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outbox = Outbox(FakePublisher, FakeLogs, FakeClock())
    aftermath = Aftermath(Registry(), outbox, PLAN, worker="w", clock=FakeClock())
    delivery = delivery_of("a", id="x")
    delivery.acks = told = Told()

    aftermath.conclude([(delivery, revoked(how, runtime))])

    assert (told.acked, outbox.held()) == ([delivery], [])
    [record] = caplog.records
    assert (vars(record)["event"], vars(record)["id"]) == ("task.revoked", "x")
    assert vars(record)["terminated"] is bool(how)
    assert how in record.getMessage()
