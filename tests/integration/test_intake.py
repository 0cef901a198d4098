"""The intake's thread, with a channel and a pool that the test moves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from taskq.clock import SystemClock
from taskq.protocols import DeadLetter, Rebalance
from taskq.revocation import Revocations, revoked_write
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.intake import Intake
from taskq.worker.outbox import Outbox
from tests.support.fake_broker import isolated_app
from tests.support.fake_channel import FakeChannel
from tests.support.fake_logs import StoredRecord
from tests.support.held_pool import HeldPool
from tests.support.pools import PlainRecord, record_of
from tests.support.waiting import wait_until


class MovableClock(SystemClock):
    """Real waits, and a monotonic time that a test can push on."""

    def __init__(self) -> None:
        self.pushed = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.pushed

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
        self.broker.open_channel = lambda: self.channel  # type: ignore[attr-defined]  # only workers ask
        self.pool = HeldPool(self.slots)
        self.outbox = Outbox(lambda: self.broker.publisher, self.clock)
        self.dispatcher = Dispatcher(
            self.pool,
            claim_ahead=self.claim_ahead,
            conclude=lambda results: None,
            clock=self.clock,
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
        self.intake.start()
        return self

    def stop(self) -> None:
        self.intake.stop()
        self.intake.give_up()
        self.channel.rebalance(Rebalance("lost", ()))  # ends a fetch that waits
        wait_until(lambda: not self.intake.is_running, timeout=10, what="the intake to end")


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

    wait_until(lambda: len(stage.intake._hand) == 3, timeout=5, what="three records in hand")

    assert len(stage.channel.claimed) == 3
    stage.stop()


def test_no_more_is_claimed_than_slots_are_free(stage: Stage) -> None:
    stage.channel.put(*(record_of("a") for _ in range(5)))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake._hand, timeout=5, what="a record in hand")

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


def test_a_dead_letter_that_cannot_be_written_stops_the_queue_and_is_repeated(
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

    blocked = [each for each in caplog.records if getattr(each, "event", "") == "intake.blocked"]
    assert len(blocked) == 1
    assert stage.channel.calls.index("settle") < stage.channel.calls.index("claim")
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
    wait_until(lambda: stage.intake._hand, timeout=5, what="a record in hand")

    stage.channel.rebalance(Rebalance("lost", (0,)))
    stage.clock.pushed += 1  # past the wait before a pause, so that the heartbeat fetches
    wait_until(lambda: not stage.intake._hand, timeout=5, what="the hand to be emptied")
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
    wait_until(lambda: beside._hand, timeout=5, what="a record in the other's hand")

    other.rebalance(Rebalance("revoked", (0,)))
    stage.clock.pushed += 1
    wait_until(lambda: not beside._hand, timeout=5, what="the other's hand to be emptied")
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
    wait_until(lambda: stage.intake._hand, timeout=5, what="a record in hand")

    stage.clock.pushed += 61
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
    wait_until(lambda: stage.intake._hand, timeout=5, what="a record in hand")

    stage.clock.pushed += 1
    stage.channel.wait(lambda: stage.channel.is_paused)
    stage.pool.end(stage.pool.held[0])
    stage.pool.wait_started(2)
    stage.channel.wait(lambda: not stage.channel.is_paused)

    assert "resume" in stage.channel.calls


def test_a_full_worker_leaves_the_group_to_others_and_comes_back(stage: Stage) -> None:
    stage.channel.others = 1
    stage.channel.put(*(record_of("a") for _ in range(3)))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake._hand, timeout=5, what="a record in hand")

    stage.clock.pushed += 6
    stage.channel.wait(lambda: "leave" in stage.channel.calls)
    wait_until(lambda: not stage.intake._hand, timeout=5, what="the hand to be emptied")
    stage.pool.end(stage.pool.held[0])
    stage.channel.wait(lambda: "rejoin" in stage.channel.calls)

    assert len(stage.channel.claimed) == 1


def test_a_full_worker_alone_in_its_group_stays(stage: Stage) -> None:
    stage.channel.put(*(record_of("a") for _ in range(3)))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake._hand, timeout=5, what="a record in hand")

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

    wait_until(lambda: stage.intake._fullness.blocked_since, timeout=5, what="the wait")
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
    wait_until(lambda: stage.intake._hand, timeout=5, what="a record in hand")

    write = revoked_write("revoked", stage.clock.now())
    now_ms = int(stage.clock.time() * 1000)
    with caplog.at_level(logging.INFO):
        stage.revoked.apply(StoredRecord(write.key, write.value, timestamp_ms=now_ms), now_ms)
        stage.pool.end(stage.pool.held[0])
        stage.pool.wait_started(2)

    assert [each.record for each in stage.pool.started] == [running, kept]
    assert stage.channel.settled == [revoked.delivery_tag]
    assert not stage.broker.publisher.letters
    assert "task.revoked" in [getattr(each, "event", "") for each in caplog.records]
    stage.stop()
