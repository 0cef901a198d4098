"""The intake's thread, with a channel and a pool that the test moves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from taskq.clock import SystemClock, unix_ms
from taskq.logs import LogPlan
from taskq.protocols import DeadLetter, Rebalance
from taskq.running.runresult import FAILED, Result
from taskq.timing.revocation import Revocations, revoked_write
from taskq.worker.aftermath import Aftermath
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.intake import Intake
from taskq.worker.outbox import Outbox
from taskq.worker.rates import Rates
from tests.support.fake_broker import isolated_app
from tests.support.fake_channel import FakeChannel
from tests.support.fake_logs import FakeLogs, StoredRecord
from tests.support.held_pool import HeldPool
from tests.support.pools import PlainRecord, delivery_of, record_of
from tests.support.waiting import wait_until


class MovableClock(SystemClock):
    """Real waits, and a monotonic time that a test can push on, or have stand still."""

    def __init__(self) -> None:
        self.pushed = 0.0
        self._stands_at: float | None = None

    def monotonic(self) -> float:
        now = super().monotonic() if self._stands_at is None else self._stands_at
        return now + self.pushed

    def stand_still(self) -> None:
        """Let nothing grow older any more, however long the machine takes: waits end all the same."""
        self._stands_at = super().monotonic()

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.pushed)


@dataclass
class Stage:
    """An intake with everything around it faked or real, and started."""

    slots: int = 1
    claim_ahead: int = 64
    channel: FakeChannel = field(default_factory=FakeChannel)
    clock: MovableClock = field(default_factory=MovableClock)

    def __post_init__(self) -> None:
        self.app, self.broker = isolated_app()
        self.app.task("a")(lambda *args: None)
        self.app.task("limited")(lambda *args: None)
        self.broker.open_channel = lambda: self.channel  # type: ignore[attr-defined]  # only workers ask
        self.pool = HeldPool(self.slots)
        self.app.task("late", acks_late=True, max_deliveries=2)(lambda *args: None)
        plan = LogPlan(logging.INFO, logging.INFO, whole=False)
        self.logs = FakeLogs()
        self.outbox = Outbox(lambda: self.broker.publisher, lambda: self.logs, self.clock)
        aftermath = Aftermath(self.app.registry, self.outbox, plan, worker="w1", clock=self.clock)
        self.dispatcher = Dispatcher(
            self.pool,
            claim_ahead=self.claim_ahead,
            conclude=aftermath.conclude,
            clock=self.clock,
            rates=Rates({"limited": 1 / 3600}),
        )
        self.pool.start(self.dispatcher)
        self.revoked = Revocations()
        self.intake = Intake(
            "q",
            self.app,
            self.dispatcher,
            self.outbox,
            worker="w1",
            clock=self.clock,
            revoked=self.revoked,
        )

    def start(self) -> Stage:
        """Start it, and wait until the intake has its channel: what a test changes from then on is for the next one."""
        self.outbox.start()
        self.intake.start()
        self.channel.wait(lambda: self.channel.is_listening)
        return self

    def stop(self) -> None:
        self.intake.stop()
        self.intake.give_up()
        self.intake.let_go()
        self.channel.rebalance(Rebalance("lost", ()))  # ends a fetch that waits
        wait_until(lambda: not self.intake.is_running, timeout=10, what="the intake to end")
        self.outbox.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage().start()
    yield stage
    stage.stop()


def test_a_record_runs_after_it_was_claimed(stage: Stage) -> None:
    started_at_claim = []
    stage.channel.on_claim = lambda tags: started_at_claim.append(list(stage.pool.started))
    record = record_of("a")

    stage.channel.put(record)
    stage.pool.wait_started(1)

    assert stage.channel.claimed == [record.delivery_tag]
    assert started_at_claim == [[]]
    assert stage.pool.started[0].record is record


def test_refused_records_do_not_run_and_free_their_slot(stage: Stage) -> None:
    lost, kept = record_of("a"), record_of("a")
    stage.channel.refuses = lambda tags: {lost.delivery_tag} & set(tags)

    stage.channel.put(lost, kept)
    stage.pool.wait_started(1)

    assert [each.record for each in stage.pool.started] == [kept]


def test_a_full_pool_has_a_record_in_hand_for_each_slot() -> None:
    stage = Stage(slots=3).start()
    stage.channel.put(*(record_of("a") for _ in range(9)))
    stage.pool.wait_started(3)

    wait_until(lambda: stage.intake.in_hand == 3, timeout=5, what="three records in hand")

    assert len(stage.channel.claimed) == 3
    stage.stop()


def test_no_more_is_claimed_than_slots_are_free(stage: Stage) -> None:
    stage.channel.put(*(record_of("a") for _ in range(5)))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand, timeout=5, what="a record in hand")

    assert len(stage.channel.claimed) == 1

    stage.pool.end(stage.pool.held[0])
    stage.pool.wait_started(2)
    assert len(stage.channel.claimed) == 2


def test_a_batch_of_short_tasks_is_one_claim(stage: Stage) -> None:
    stage.channel.put(record_of("a"))
    stage.pool.wait_started(1)
    stage.pool.end(stage.pool.held[0], runtime=0.00001)
    stage.channel.calls.clear()

    stage.channel.put(*(record_of("a") for _ in range(30)))
    stage.pool.wait_started(31)

    assert stage.channel.calls.count("claim") <= 2


def test_an_unknown_task_is_a_dead_letter_before_it_settles(stage: Stage) -> None:
    record = record_of("b")
    letters_at_settle: list[int] = []
    settle = stage.channel.settle

    def watched(tags: list[int]) -> None:
        letters_at_settle.append(len(stage.broker.publisher.letters))
        settle(tags)

    stage.channel.settle = watched  # type: ignore[method-assign,assignment]  # to look in between

    stage.channel.put(record)
    stage.channel.wait(lambda: stage.channel.settled)

    (letter,) = stage.broker.publisher.letters
    headers = dict(letter.headers)
    assert letters_at_settle == [1]
    assert stage.channel.settled == [record.delivery_tag]
    assert headers["dlq-reason"] == b"unknown_task"
    assert headers["dlq-task"] == b"b"
    assert headers["dlq-worker"] == b"w1"
    assert headers["dlq-attempts"] == b"0"
    assert not stage.pool.started


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (PlainRecord(value=b"\xff", delivery_tag=1), b"unreadable"),
        (PlainRecord(value=None, delivery_tag=1), b"unreadable"),
        (record_of("a", offset_expired=True), b"offset_expired"),
        (PlainRecord(value=b'{"task": "a", "eta": 7}', delivery_tag=1), b"unsupported"),
    ],
)
def test_what_cannot_run_is_a_dead_letter_with_its_reason(
    stage: Stage, record: PlainRecord, reason: bytes
) -> None:
    stage.channel.put(record)
    stage.channel.wait(lambda: stage.channel.settled)

    (letter,) = stage.broker.publisher.letters
    assert dict(letter.headers)["dlq-reason"] == reason
    assert letter.record is record


def test_a_dead_letter_that_cannot_be_written_stops_its_partition_and_is_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    refusals = [1]

    def dead_letters(letters: list[DeadLetter], *, timeout: float) -> list[Exception | None]:
        if refusals:
            refusals.pop()
            return [ConnectionError("away")] * len(letters)
        stage.broker.publisher.letters += letters
        return [None] * len(letters)

    stage.broker.publisher.dead_letters = dead_letters  # type: ignore[method-assign,assignment]  # refuses once
    stage.channel.put(record_of("b"), record_of("a"))
    stage.start()
    stage.channel.wait(lambda: stage.channel.settled)
    stage.pool.wait_started(1)
    stage.stop()

    blocked = [
        each for each in caplog.records if getattr(each, "event", "") == "intake.partition_blocked"
    ]
    assert len(blocked) == 1
    assert stage.channel.calls.count("pass_over") == 2
    assert stage.channel.passed_over == set()
    assert len(stage.broker.publisher.letters) == 1


def test_an_expired_task_is_settled_and_not_run(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    record = record_of("a", extra={"expires": "2001-01-01T00:00:00Z"})

    stage.channel.put(record)
    stage.channel.wait(lambda: stage.channel.settled)
    wait_until(lambda: caplog.records, timeout=5, what="the line")

    assert stage.channel.settled == [record.delivery_tag]
    assert not stage.broker.publisher.letters
    assert [getattr(each, "event", "") for each in caplog.records] == ["task.expired"]


def test_records_in_hand_that_a_rebalance_voided_are_not_claimed(stage: Stage) -> None:
    stage.channel.put(record_of("a"), record_of("a"))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand, timeout=5, what="a record in hand")

    stage.channel.rebalance(Rebalance("lost", (0,)))
    stage.clock.pushed += 1  # past the wait before a pause, so that the heartbeat fetches
    wait_until(lambda: not stage.intake.in_hand, timeout=5, what="the hand to be emptied")
    stage.pool.end(stage.pool.held[0])
    after = record_of("a")
    stage.channel.put(after)
    stage.pool.wait_started(2)

    assert stage.pool.started[1].record is after
    assert len(stage.channel.claimed) == 2


def test_a_queue_that_lost_its_hand_keeps_no_slot_from_another(stage: Stage) -> None:
    other = FakeChannel()
    stage.broker.open_channel = lambda: other  # type: ignore[attr-defined]  # only workers ask
    beside = Intake("b", stage.app, stage.dispatcher, stage.outbox, worker="w1", clock=stage.clock)
    stage.channel.put(record_of("a"))
    stage.pool.wait_started(1)
    beside.start()
    other.put(record_of("a"))
    wait_until(lambda: beside.in_hand, timeout=5, what="a record in the other's hand")

    other.rebalance(Rebalance("revoked", (0,)))
    stage.clock.pushed += 1
    wait_until(lambda: not beside.in_hand, timeout=5, what="the other's hand to be emptied")
    stage.pool.end(stage.pool.held[0])
    stage.channel.put(record_of("a"))
    stage.pool.wait_started(2)

    beside.stop()
    other.rebalance(Rebalance("lost", ()))
    wait_until(lambda: not beside.is_running, timeout=10, what="the other to end")


def test_what_expires_while_it_waits_for_a_slot_does_not_run(stage: Stage) -> None:
    expires = stage.clock.now() + timedelta(seconds=60)
    stage.channel.put(record_of("a"))
    stage.pool.wait_started(1)
    late, after = record_of("a", extra={"expires": expires.isoformat()}), record_of("a")
    stage.channel.put(late)
    wait_until(lambda: stage.intake.in_hand, timeout=5, what="a record in hand")

    stage.clock.pushed += 61
    stage.channel.wait(lambda: stage.channel.settled)  # before a slot is free: it may be looked at
    stage.channel.put(after)
    stage.pool.end(stage.pool.held[0])
    stage.pool.wait_started(2)

    assert stage.pool.started[1].record is after
    assert stage.channel.settled == [late.delivery_tag]


def test_what_the_broker_refuses_is_one_line_without_traceback(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    class Refused(Exception):
        pass

    stage.broker.refusals = (Refused,)
    first, stage.channel = stage.channel, FakeChannel()
    first.fetch_error = Refused("no right to use q")

    wait_until(lambda: first.is_closed, timeout=10, what="the channel to be let go")
    wait_until(lambda: caplog.records, timeout=10, what="a line")

    (line,) = caplog.records
    assert (line.levelname, line.exc_info) == ("ERROR", None)
    assert "no right to use q" in line.getMessage()


def test_a_full_worker_pauses_and_resumes(stage: Stage) -> None:
    stage.channel.put(*(record_of("a") for _ in range(3)))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand, timeout=5, what="a record in hand")

    stage.clock.pushed += 1
    stage.channel.wait(lambda: stage.channel.is_paused)
    stage.pool.end(stage.pool.held[0])
    stage.pool.wait_started(2)

    stage.channel.wait(lambda: "resume" in stage.channel.calls)


def test_a_full_worker_leaves_the_group_to_others_and_comes_back(stage: Stage) -> None:
    stage.channel.others = 1
    stage.channel.put(*(record_of("a") for _ in range(2)))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand, timeout=5, what="a record in hand")

    stage.clock.pushed += 6
    stage.channel.wait(lambda: "leave" in stage.channel.calls)
    wait_until(lambda: not stage.intake.in_hand, timeout=5, what="the hand to be emptied")
    stage.pool.end(stage.pool.held[0])
    stage.channel.wait(lambda: "rejoin" in stage.channel.calls)

    assert len(stage.channel.claimed) == 1


def test_a_full_worker_alone_in_its_group_stays(stage: Stage) -> None:
    stage.channel.put(*(record_of("a") for _ in range(3)))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand, timeout=5, what="a record in hand")

    stage.clock.pushed += 6
    stage.channel.wait(lambda: "other_members" in stage.channel.calls)
    stage.channel.wait(lambda: stage.channel.is_paused)

    assert "leave" not in stage.channel.calls


def test_a_broken_channel_is_replaced(stage: Stage) -> None:
    first = stage.channel
    stage.channel = FakeChannel()
    first.wait(lambda: first.is_listening)

    first.fetch_error = ConnectionError("gone")
    first.rebalance(Rebalance("lost", ()))
    stage.channel.put(record_of("a"))
    stage.pool.wait_started(1)

    assert first.is_closed


def test_a_claim_without_an_answer_is_named_and_does_not_run(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.channel.claim_error = ConnectionError("given up")

    stage.channel.put(record_of("a", id="abc"))
    wait_until(lambda: stage.intake.lost, timeout=5, what="the loss")
    stage.channel.put(after := record_of("a"))
    stage.pool.wait_started(1)

    lost = [each for each in caplog.records if getattr(each, "event", "") == "task.lost"]
    assert len(lost) == 1
    assert "a[abc]" in lost[0].getMessage()
    assert [each.record for each in stage.pool.started] == [after]


def test_stop_closes_the_channel_and_claims_nothing_more(stage: Stage) -> None:
    stage.channel.put(record_of("a"), record_of("a"))
    stage.pool.wait_started(1)

    stage.stop()

    assert stage.channel.is_closed
    assert len(stage.channel.claimed) == 1


def test_a_full_outbox_stops_the_intake(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "is_full", property(lambda self: True))
    stage.channel.wait(lambda: stage.channel.is_listening)
    stage.channel.rebalance(Rebalance("assigned", (0,)))  # ends a fetch that waits already

    stage.channel.wait(lambda: stage.channel.is_paused)
    stage.channel.put(record_of("a"))
    stage.dispatcher.wake_all()

    assert not stage.channel.claimed


def test_an_intake_that_takes_nothing_moves_all_the_same(stage: Stage) -> None:
    before = stage.intake.pulse.moved

    wait_until(lambda: stage.intake.pulse.moved > before, timeout=10, what="the thread to move")
    assert stage.intake.pulse.waits_for == ""


def test_an_intake_that_waits_for_a_slot_moves(stage: Stage) -> None:
    stage.channel.put(record_of("a"), record_of("a"))
    stage.pool.wait_started(1)
    before = stage.intake.pulse.moved

    wait_until(lambda: stage.intake.pulse.moved > before, timeout=10, what="the thread to move")


def test_an_intake_that_claims_says_so(stage: Stage) -> None:
    seen: list[str] = []
    stage.channel.on_claim = lambda tags: seen.append(stage.intake.pulse.waits_for)

    stage.channel.put(record_of("a"))
    stage.pool.wait_started(1)

    assert seen == ["a claim of 1 record"]
    wait_until(lambda: stage.intake.pulse.waits_for == "", timeout=10, what="the end of the claim")


def test_an_intake_whose_thread_has_ended_says_so(stage: Stage) -> None:
    assert stage.intake.pulse.is_running

    stage.stop()

    assert not stage.intake.pulse.is_running


def _started(stage: Stage) -> list[str]:
    return [each.task for each in stage.pool.started]


def test_tasks_above_their_rate_wait_and_others_of_their_queue_pass_them() -> None:
    stage = Stage(slots=9).start()
    limited = [record_of("limited") for _ in range(3)]

    stage.channel.put(*limited, record_of("a"))
    stage.pool.wait_started(2)
    stage.channel.put(record_of("a"))
    stage.pool.wait_started(3)

    assert _started(stage) == ["limited", "a", "a"]
    assert stage.channel.claimed.count(limited[1].delivery_tag) == 0
    stage.stop()


def test_a_task_above_its_rate_starts_when_its_time_has_come() -> None:
    stage = Stage(slots=9).start()
    stage.channel.put(*(record_of("limited") for _ in range(3)))
    stage.pool.wait_started(1)

    stage.clock.pushed += 3601
    stage.pool.wait_started(2)

    assert len(stage.channel.claimed) == 2
    stage.stop()


def test_a_queue_waits_with_its_tasks_when_its_hand_is_full_of_those_above_their_rate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    stage = Stage(slots=9).start()

    stage.channel.put(*(record_of("limited") for _ in range(250)), record_of("a"))
    stage.channel.wait(lambda: "pause" in stage.channel.calls)

    assert _started(stage) == ["limited"]
    assert stage.intake.in_hand == 200
    assert stage.dispatcher.free == 8
    stage.stop()
    events = [getattr(record, "event", "") for record in caplog.records]
    assert events.count("intake.rate_limited") == 1


def test_late_tasks_are_settled_while_their_queue_waits_with_those_above_their_rate() -> None:
    stage = Stage(slots=9).start()
    late = record_of("late")
    stage.channel.put(late, *(record_of("limited") for _ in range(250)))
    stage.channel.wait(lambda: "pause" in stage.channel.calls)

    stage.pool.end(next(each for each in stage.pool.held if each.record is late))
    stage.channel.wait(lambda: stage.channel.settled and "commit" in stage.channel.calls)

    assert stage.channel.settled == [late.delivery_tag]
    stage.stop()


def test_what_is_revoked_while_it_waits_for_its_rate_is_settled_and_does_not_run() -> None:
    stage = Stage(slots=9).start()
    first, revoked = record_of("limited"), record_of("limited", id="revoked")
    stage.channel.put(first, revoked)
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand, timeout=5, what="one in hand")

    write = revoked_write("revoked", stage.clock.now())
    now_ms = unix_ms(stage.clock)
    stage.revoked.apply(StoredRecord(write.key, write.value, timestamp_ms=now_ms), now_ms)
    stage.channel.wait(lambda: stage.channel.settled)

    assert stage.channel.settled == [revoked.delivery_tag]
    assert _started(stage) == ["limited"]
    stage.stop()


def test_a_task_above_its_rate_keeps_no_slot_from_other_queues() -> None:
    stage = Stage(slots=2).start()
    stage.channel.put(*(record_of("limited") for _ in range(3)))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand == 2, timeout=5, what="two in hand")

    grants = stage.dispatcher.reserve("other", [delivery_of("a")])

    assert len(grants) == 1
    stage.stop()


def test_what_waits_for_its_rate_is_void_after_a_rebalance() -> None:
    stage = Stage(slots=9).start()
    stage.channel.put(*(record_of("limited") for _ in range(3)))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand == 2, timeout=5, what="two in hand")

    stage.channel.rebalance(Rebalance("lost", (0,)))

    wait_until(lambda: not stage.intake.in_hand, timeout=5, what="an empty hand")
    stage.stop()


def test_what_has_an_eta_that_has_not_come_is_moved_and_not_claimed(stage: Stage) -> None:
    early = record_of("a", extra={"eta": "2999-01-01T00:00:00Z"})

    stage.channel.put(early, record_of("a"))
    stage.pool.wait_started(1)

    [write] = stage.channel.moved
    assert (write.log, write.route) == ("taskq.timers", f"a-{early.offset}".encode())
    assert early.delivery_tag not in stage.channel.claimed
    assert not stage.broker.publisher.letters


def test_what_is_revoked_while_it_waits_for_a_slot_is_settled_and_does_not_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage().start()
    running, revoked, kept = (record_of("a", id=name) for name in ("running", "revoked", "kept"))
    stage.channel.put(running, revoked, kept)
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand, timeout=5, what="a record in hand")

    write = revoked_write("revoked", stage.clock.now())
    now_ms = unix_ms(stage.clock)
    with caplog.at_level(logging.INFO):
        stage.revoked.apply(StoredRecord(write.key, write.value, timestamp_ms=now_ms), now_ms)
        stage.channel.wait(lambda: stage.channel.settled)  # before a slot is free, as above
        stage.pool.end(stage.pool.held[0])
        stage.pool.wait_started(2)

    assert [each.record for each in stage.pool.started] == [running, kept]
    assert stage.channel.settled == [revoked.delivery_tag]
    assert not stage.broker.publisher.letters
    assert "task.revoked" in [getattr(each, "event", "") for each in caplog.records]
    stage.stop()


# Late acks

DIED: Result = (FAILED, 0.0, None, ("worker_died", "the process that ran it was killed", "", []))


def run_late(stage: Stage, **more: Any) -> PlainRecord:
    """Have a late task started and return its record."""
    record = record_of("late", **more)
    count = len(stage.pool.started)
    stage.channel.put(record)
    stage.pool.wait_started(count + 1)
    return record


def die(stage: Stage) -> None:
    """Let the process of the only task at work die."""
    (delivery,) = stage.pool.held
    stage.pool.held.clear()
    stage.dispatcher.on_results(delivery.lane, [(delivery, DIED)])


def test_a_late_task_is_started_by_its_claim_and_settled_after_its_run(stage: Stage) -> None:
    record = run_late(stage)
    settled_before = list(stage.channel.settled)

    stage.pool.end(stage.pool.held[0])
    stage.channel.wait(lambda: "commit" in stage.channel.calls)

    assert (stage.channel.started, settled_before) == ([record.delivery_tag], [])
    assert stage.channel.claimed == []
    assert stage.channel.settled == [record.delivery_tag]


def test_ends_go_with_the_next_claim(stage: Stage) -> None:
    stage.channel.put(*(record_of("late") for _ in range(3)))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand, timeout=5, what="a record in hand")
    stage.clock.stand_still()  # an end that has waited for 0.1 s goes without a claim
    stage.channel.calls.clear()

    stage.pool.end(stage.pool.held[0])
    stage.pool.wait_started(2)

    assert stage.channel.calls[:2] == ["settle", "claim"]


def test_a_late_task_that_failed_is_settled_after_its_dead_letter(stage: Stage) -> None:
    record = run_late(stage)
    letters_at_settle: list[int] = []
    settle = stage.channel.settle

    def watched(tags: list[int]) -> None:
        letters_at_settle.append(len(stage.broker.publisher.letters))
        settle(tags)

    stage.channel.settle = watched  # type: ignore[method-assign,assignment]  # to look in between
    stage.pool.end(stage.pool.held[0], error="ValueError: no")
    stage.channel.wait(lambda: stage.channel.settled)

    assert letters_at_settle == [1]
    assert stage.channel.settled == [record.delivery_tag]


def test_a_late_task_is_not_settled_while_its_dead_letter_cannot_be_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()

    def dead_letters(letters: list[DeadLetter], *, timeout: float) -> list[Exception | None]:
        return [ConnectionError("away")] * len(letters)

    stage.broker.publisher.dead_letters = dead_letters  # type: ignore[method-assign,assignment]  # refuses for ever
    stage.start()
    run_late(stage)

    stage.pool.end(stage.pool.held[0], error="ValueError: no")
    wait_until(lambda: caplog.records, timeout=10, what="the failure of the write")
    run_late(stage)

    assert stage.channel.settled == []
    stage.stop()
    assert stage.channel.settled == []


def test_a_late_task_whose_process_died_is_released_and_counted(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    record = run_late(stage, id="abc")

    die(stage)
    stage.pool.wait_started(2)

    assert stage.channel.died == [record.delivery_tag]
    assert stage.channel.settled == []
    (line,) = [each for each in caplog.records if getattr(each, "event", "").startswith("task.")]
    assert (getattr(line, "event", ""), getattr(line, "deaths", 0)) == ("task.delivered_again", 1)


def test_the_last_death_is_a_dead_letter_that_counts_all_deliveries(stage: Stage) -> None:
    record = run_late(stage, deliveries=4, deaths=1, is_suspect=True)

    die(stage)
    stage.channel.wait(lambda: stage.channel.settled)

    (letter,) = stage.broker.publisher.letters
    headers = dict(letter.headers)
    assert (headers["dlq-reason"], headers["dlq-attempts"]) == (b"worker_died", b"5")
    assert stage.channel.settled == [record.delivery_tag]
    assert stage.channel.died == []


def test_too_many_deaths_that_others_counted_are_a_dead_letter_without_a_run(stage: Stage) -> None:
    record = record_of("late", deliveries=3, deaths=2, is_suspect=True)

    stage.channel.put(record)
    stage.channel.wait(lambda: stage.channel.settled)

    (letter,) = stage.broker.publisher.letters
    assert dict(letter.headers)["dlq-reason"] == b"worker_died"
    assert stage.channel.started == []


def test_a_suspect_is_claimed_as_alone(stage: Stage) -> None:
    record = run_late(stage, deliveries=1, is_suspect=True)

    assert stage.channel.alone == [record.delivery_tag]


def test_the_end_of_a_late_task_settles_nothing_after_its_partition_went(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    run_late(stage)
    delivery = stage.pool.held[0]

    stage.channel.rebalance(Rebalance("lost", (0,)))
    wait_until(lambda: delivery.is_void, timeout=5, what="the delivery to be void")
    stage.pool.end(delivery, error="ValueError: no")
    run_late(stage)

    assert stage.channel.settled == []
    assert stage.outbox.is_empty
    assert stage.broker.publisher.letters == []
    assert [getattr(each, "event", "") for each in caplog.records].count("task.void") == 2


def test_a_partition_that_goes_in_order_waits_for_what_runs_of_it(stage: Stage) -> None:
    record = run_late(stage)
    delivery = stage.pool.held[0]

    stage.channel.rebalance(Rebalance("revoked", (0,)))
    wait_until(lambda: "before_revoke" in stage.channel.calls, timeout=5, what="the revocation")
    stage.pool.end(delivery)
    stage.channel.wait(lambda: stage.channel.settled)

    assert stage.channel.settled == [record.delivery_tag]
    assert not delivery.is_void


def test_a_full_worker_stays_in_its_group_while_late_tasks_are_at_work(stage: Stage) -> None:
    stage.channel.others = 1
    stage.channel.put(record_of("late"), record_of("a"))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand, timeout=5, what="a record in hand")

    stage.clock.pushed += 6
    stage.channel.wait(lambda: stage.channel.is_paused)
    before = stage.intake.pulse.moved
    wait_until(lambda: stage.intake.pulse.moved > before, timeout=10, what="another look")

    assert "other_members" not in stage.channel.calls
    assert "leave" not in stage.channel.calls


def test_stop_stays_until_late_tasks_have_ended_and_settles_them(stage: Stage) -> None:
    record = run_late(stage)

    stage.intake.stop()
    stage.channel.wait(lambda: stage.channel.is_paused)
    held = stage.intake.holds_late
    stage.pool.end(stage.pool.held[0])
    stage.channel.wait(lambda: stage.channel.is_closed)

    assert held
    assert stage.channel.settled == [record.delivery_tag]


@pytest.mark.parametrize("answers", [True, False])
def test_who_waits_for_late_ends_waits_for_their_commit_alone(stage: Stage, answers: bool) -> None:
    run_late(stage)
    stage.channel.answers = answers
    stage.channel.leaves.clear()

    stage.intake.stop()
    stage.channel.wait(lambda: stage.channel.is_paused)
    stage.pool.end(stage.pool.held[0])
    stage.channel.wait(lambda: "commit" in stage.channel.calls[-3:])
    wait_until(
        lambda: stage.intake.pulse.waits_for == "leaving its group", timeout=5, what="its leaving"
    )

    assert stage.intake.is_running
    assert stage.intake.holds_late is not answers
    stage.channel.leaves.set()
    stage.channel.wait(lambda: stage.channel.is_closed)


def test_who_lets_go_closes_without_settling_what_is_at_work(stage: Stage) -> None:
    run_late(stage)

    stage.intake.stop()
    stage.channel.wait(lambda: stage.channel.is_paused)
    stage.intake.let_go()
    stage.channel.wait(lambda: stage.channel.is_closed)

    assert stage.channel.settled == []


def test_a_claim_without_an_answer_loses_no_late_task(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.channel.claim_error = ConnectionError("given up")

    stage.channel.put(record_of("late"))
    wait_until(lambda: stage.channel.is_closed, timeout=10, what="the channel to be given up")

    assert stage.intake.lost == 0
    assert "task.lost" not in [getattr(each, "event", "") for each in caplog.records]


def test_ends_that_come_after_a_channel_broke_settle_nothing_on_the_next(stage: Stage) -> None:
    run_late(stage)
    delivery = stage.pool.held[0]
    first, stage.channel = stage.channel, FakeChannel()

    first.fetch_error = ConnectionError("gone")
    first.rebalance(Rebalance("assigned", ()))
    stage.channel.wait(lambda: stage.channel.is_listening)
    stage.pool.end(delivery)
    after = run_late(stage)
    stage.pool.end(stage.pool.held[0])
    stage.channel.wait(lambda: stage.channel.settled)

    assert first.settled == []
    assert stage.channel.settled == [after.delivery_tag]


def test_a_partition_that_stands_still_names_the_task_it_waits_for(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    record = run_late(stage, id="stuck")

    def said() -> list[logging.LogRecord]:
        return [each for each in caplog.records if "partition_" in getattr(each, "event", "")]

    stage.channel.blocked = {0: record.offset}
    wait_until(lambda: len(said()) == 1, timeout=5, what="the line")
    stage.channel.blocked = {}
    wait_until(lambda: len(said()) == 2, timeout=5, what="the other line")

    assert [getattr(each, "event", "") for each in said()] == [
        "intake.partition_blocked",
        "intake.partition_freed",
    ]
    assert "late[stuck]" in said()[0].getMessage()
