"""Which task is due when: each once, none early, whatever is written, cancelled and built anew, in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskq.protocols import Outgoing
from taskq.timing import timershard
from taskq.timing.shards import Firing, Write
from taskq.timing.timers import cancel_write, timer_write
from taskq.timing.timershard import ASK_AGAIN_MS, LEAD_MS, NEAR_MS, TimerShard
from tests.support.logrecords import StoredRecord, stored

NOW = 1_000_000
AT = datetime(2026, 11, 23, 17, tzinfo=timezone.utc)


class Partition:
    """A partition of the log, and whoever owns it: writes, and does with a shard what a host does."""

    def __init__(self) -> None:
        self.records: list[StoredRecord] = []
        self.shard = TimerShard(3)
        self.fired: list[tuple[str, int]] = []
        self.letters: list[tuple[str, int]] = []
        self._applied = 0

    def write(self, write: Write, now_ms: int = NOW) -> int:
        offset = len(self.records) * 2  # there are holes
        self.records.append(stored(write, offset=offset, now_ms=now_ms))
        return offset

    def wait(self, id: str, due_ms: int, *, unique: str | None = None, now_ms: int = NOW) -> int:
        message = Outgoing("q", b"value", [("task", b"add"), ("id", id.encode())])
        return self.write(timer_write(message, task_id=id, due_ms=due_ms, unique=unique), now_ms)

    def cancel(self, id: str, now_ms: int = NOW) -> None:
        self.write(cancel_write(id, AT), now_ms)

    def end(self, key: bytes) -> None:
        self.write(Write("", b"", key, None))

    def read(self) -> None:
        """Let the shard read on to the end."""
        for record in self.records[self._applied :]:
            self.shard.apply(record)
        self._applied = len(self.records)

    def rebuild(self) -> None:
        """Build the shard anew from what compaction has left."""
        last = {record.key: record.offset for record in self.records}
        self.shard = TimerShard(3)
        for record in self.records:
            if last[record.key] == record.offset:
                self.shard.apply(record)
        self._applied = len(self.records)

    def fetch(self, now_ms: int) -> Sequence[int]:
        wanted = self.shard.wanted(now_ms)
        self.shard.load([self.records[offset // 2] for offset in reversed(wanted)])
        return wanted

    def take(self, now_ms: int, limit: int = 500) -> Sequence[Firing]:
        self.read()
        self.fetch(now_ms)
        return self.shard.take(now_ms, limit)

    def commit(self, firings: Sequence[Firing], now_ms: int) -> None:
        for firing in firings:
            for key, value in firing.writes:
                self.write(Write("", b"", key, value), now_ms)
            self.fired += [(firing.name, now_ms) for _ in firing.messages]
            self.letters += [(firing.name, now_ms) for _ in firing.letters]
        self.shard.settle(firings)

    def run(self, now_ms: int = NOW) -> list[str]:
        """Fire what is due, and return the ids."""
        before = len(self.fired)
        while True:
            self.read()
            # With little room records come one after the other, and a cancel record waits for all of its timers.
            fetched = self.fetch(now_ms)
            firings = self.shard.take(now_ms, 500)
            if not fetched and not firings:
                return [id for id, _ in self.fired[before:]]
            self.commit(firings, now_ms)


@pytest.fixture
def log() -> Partition:
    return Partition()


@pytest.fixture(params=["kept", "fetched"])
def either(request: pytest.FixtureRequest, log: Partition, monkeypatch: Any) -> Partition:
    """A partition whose records are kept as they come, and one in which all are fetched."""
    if request.param == "fetched":
        monkeypatch.setattr(timershard, "NEAR_MS", -(1 << 50))
    return log


def test_a_task_fires_when_its_time_has_come_and_not_before(either: Partition) -> None:
    either.wait("a", NOW + 10)

    assert either.run(NOW + 9) == []
    assert len(either.shard) == 1
    assert either.run(NOW + 10) == ["a"]
    assert either.run(NOW + 11) == []
    assert len(either.shard) == 0


def test_a_firing_writes_the_task_and_takes_out_its_key(log: Partition) -> None:
    log.wait("a", NOW, unique="1")

    [firing] = log.take(NOW + 5)

    [message] = firing.messages
    headers = [("task", b"add"), ("id", b"a"), ("taskq-fired", str(NOW + 5).encode())]
    assert message == Outgoing("q", b"value", headers)
    assert list(firing.writes) == [(b"a/1", None)]
    assert firing.letters == ()


def test_the_earliest_comes_first_and_no_more_than_the_limit(either: Partition) -> None:
    for id, due in (("c", 3), ("a", 1), ("b", 2)):
        either.wait(id, NOW + due)

    firings = either.take(NOW + 3, 2)

    assert [firing.name for firing in firings] == ["a", "b"]
    assert [firing.name for firing in either.take(NOW + 3)] == ["c"]


def test_a_record_that_was_seen_changes_nothing(log: Partition) -> None:
    log.wait("a", NOW)
    log.read()
    log.shard.apply(log.records[0])

    assert log.run() == ["a"]


def test_a_timer_written_twice_under_one_key_is_one_and_the_newest_counts(
    either: Partition,
) -> None:
    either.wait("a", NOW + 1, unique="1")
    either.read()
    either.wait("a", NOW + 5, unique="1")

    assert either.run(NOW + 4) == []
    assert either.run(NOW + 5) == ["a"]


def test_several_timers_of_one_id_all_fire(either: Partition) -> None:
    for due in (1, 2, 3):
        either.wait("a", NOW + due)

    assert either.run(NOW + 2) == ["a", "a"]
    assert either.run(NOW + 3) == ["a"]


def test_what_is_written_again_before_its_end_stands_in_the_log_is_taken_out_by_it(
    log: Partition,
) -> None:
    log.wait("a", NOW, unique="1")
    firings = log.take(NOW)
    log.wait("a", NOW, unique="1")

    log.commit(firings, NOW)

    assert log.run() == []


def test_a_key_may_be_used_again_after_its_end(log: Partition) -> None:
    log.wait("a", NOW, unique="1")
    log.run()
    log.read()
    log.wait("a", NOW, unique="1")

    assert log.run() == ["a"]


def test_a_transaction_that_failed_fires_after_building_anew(either: Partition) -> None:
    either.wait("a", NOW)
    either.take(NOW)

    either.rebuild()

    assert either.run() == ["a"]


def test_what_another_owner_fired_is_gone(either: Partition) -> None:
    either.wait("a", NOW + 1, unique="1")
    either.read()

    either.end(b"a/1")

    assert either.run(NOW + 1) == []
    assert len(either.shard) == 0


class TestCancel:
    def test_it_takes_out_all_timers_of_the_task(self, either: Partition) -> None:
        either.wait("a", NOW + 1, unique="1")
        either.wait("a", NOW + 90_000_000, unique="2")
        either.wait("b", NOW + 1)
        either.cancel("a")

        [cancelling] = either.take(NOW)

        keys = {key for key, _ in cancelling.writes}
        assert keys == {b"a/1", b"a/2", b"a/cancel"}
        assert cancelling.messages == ()
        either.commit([cancelling], NOW)
        assert either.run(NOW + 90_000_000) == ["b"]

    def test_it_takes_out_itself_where_nothing_waits(self, log: Partition) -> None:
        log.cancel("a")

        [cancelling] = log.take(NOW)

        assert list(cancelling.writes) == [(b"a/cancel", None)]

    def test_what_is_written_after_it_waits(self, either: Partition) -> None:
        either.wait("a", NOW + 1)
        either.cancel("a")
        either.wait("a", NOW + 2)

        assert either.run(NOW + 2) == ["a"]

    def test_it_is_followed_after_building_anew(self, either: Partition) -> None:
        either.wait("a", NOW + 1)
        either.cancel("a")
        either.take(NOW)

        either.rebuild()

        assert either.run(NOW + 1) == []
        assert either.records[-1].value is None

    def test_it_comes_too_late_for_what_is_under_way(self, log: Partition) -> None:
        log.wait("a", NOW)
        firings = log.take(NOW)
        log.cancel("a")
        log.commit(firings, NOW)

        log.run()

        assert log.fired == [("a", NOW)]
        assert len(log.shard) == 0

    def test_a_second_one_takes_out_what_came_between(self, either: Partition) -> None:
        either.wait("a", NOW + 1)
        either.cancel("a")
        either.wait("a", NOW + 1)
        either.cancel("a")

        assert either.run(NOW + 1) == []

    def test_one_that_was_followed_is_not_followed_again(self, log: Partition) -> None:
        log.cancel("a")
        log.end(b"a/cancel")

        assert log.take(NOW) == []
        assert log.shard.next_due() is None

    def test_a_timer_that_ended_meanwhile_is_not_waited_for(self, log: Partition) -> None:
        log.wait("a", NOW + 90_000_000, unique="1")
        log.cancel("a")
        log.read()
        log.shard.wanted(NOW)
        log.end(b"a/1")
        log.read()

        [cancelling] = log.shard.take(NOW, 500)

        assert list(cancelling.writes) == [(b"a/cancel", None)]

    def test_it_is_said(self, log: Partition, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        log.wait("a", NOW + 1)
        log.cancel("a")

        log.run()

        assert [each.event for each in caplog.records] == ["timers.cancelled"]  # type: ignore[attr-defined]  # by extra=

    def test_another_id_with_its_hash_is_not_touched(
        self, either: Partition, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(timershard, "_ID", 0)
        either.wait("b", NOW + 1)
        either.wait("a", NOW + 1)
        either.cancel("a")

        assert either.run(NOW + 1) == ["b"]


class TestMemory:
    def test_what_is_far_is_not_kept_and_asked_for_before_it_is_due(self, log: Partition) -> None:
        due = NOW + 2 * NEAR_MS
        offset = log.wait("a", due)
        log.read()

        assert log.shard.next_due() == due - LEAD_MS
        assert log.shard.wanted(due - LEAD_MS - 1) == []
        assert log.shard.wanted(due - LEAD_MS) == [offset]

    def test_what_is_near_is_kept(self, log: Partition) -> None:
        log.wait("a", NOW + 10)
        log.read()

        assert log.shard.next_due() == NOW + 10
        assert log.shard.wanted(NOW + 10) == []

    def test_what_did_not_come_is_asked_for_again_after_a_while(self, log: Partition) -> None:
        offset = log.wait("a", NOW + 2 * NEAR_MS)
        log.read()
        due = NOW + 2 * NEAR_MS
        log.shard.wanted(due)

        assert log.shard.wanted(due + ASK_AGAIN_MS - 1) == []
        assert log.shard.next_due() == due + ASK_AGAIN_MS
        assert log.shard.wanted(due + ASK_AGAIN_MS) == [offset]

    def test_no_more_are_kept_and_fetched_than_there_is_room(
        self, log: Partition, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(timershard, "ROOM_RECORDS", 8)
        log.shard = TimerShard(3)
        for number in range(20):
            log.wait(str(number), NOW + number)
        log.read()

        fetched = log.fetch(NOW + 20)

        assert len(fetched) == 2
        assert sorted(log.run(NOW + 20), key=int) == [str(number) for number in range(20)]

    def test_there_is_room_for_one_record_of_any_size(
        self, log: Partition, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(timershard, "ROOM_BYTES", 1)
        log.shard = TimerShard(3)
        for id in "abc":
            log.wait(id, NOW)

        assert sorted(log.run()) == ["a", "b", "c"]

    def test_what_came_and_went_is_not_kept_for_years(self, log: Partition) -> None:
        for number in range(5_000):
            log.wait(str(number % 5), NOW + 90_000_000_000, unique="1")
        log.read()

        assert len(log.shard) == 5
        assert len(log.shard._far) < 1_100


class TestHostile:
    def test_what_cannot_be_read_becomes_a_letter_at_once(self, either: Partition) -> None:
        either.write(Write("", b"", b"a/1", b"?", [("timer-format", b"x")]))

        [firing] = either.take(NOW)

        assert list(firing.writes) == [(b"a/1", None)]
        [letter] = firing.letters
        assert letter.key == b"taskq.timers/3/0"
        assert ("dlq-reason", b"unreadable") in letter.headers

    def test_what_has_no_key_at_all_becomes_a_letter(self, log: Partition) -> None:
        log.write(Write("", b"", b"", b"?"))

        log.run()

        assert len(log.letters) == 1

    def test_a_newer_format_is_left_untouched_and_said_once(
        self, log: Partition, caplog: pytest.LogCaptureFixture
    ) -> None:
        for id in "ab":
            log.write(Write("", b"", f"{id}/1".encode(), b"?", [("timer-format", b"2")]))
        log.wait("a", NOW, unique="2")

        assert log.run() == ["a"]
        assert [each.event for each in caplog.records] == ["timers.newer_format"]  # type: ignore[attr-defined]  # by extra=
        assert [record.key for record in log.records if record.value is None] == [b"a/2"]

    def test_a_cancel_record_stays_for_a_newer_timer_of_the_task(self, log: Partition) -> None:
        log.write(Write("", b"", b"a/1", b"?", [("timer-format", b"2")]))
        log.wait("a", NOW + 1, unique="2")
        log.cancel("a")

        log.run(NOW + 1)

        assert log.fired == []
        assert [record.key for record in log.records if record.value is None] == [b"a/2"]

    def test_what_the_broker_refuses_becomes_a_letter_with_its_end(self, log: Partition) -> None:
        log.wait("a", NOW, unique="1")
        [firing] = log.take(NOW)

        given_up = log.shard.give_up(firing, "too_large", "the queue's topic takes less")

        assert given_up.messages == ()
        assert list(given_up.writes) == [(b"a/1", None)]
        [letter] = given_up.letters
        assert {("dlq-reason", b"too_large"), ("dlq-task", b"add")} <= set(letter.headers)
        assert log.shard.give_up(given_up, "other", "") is given_up


# Against a model

_IDS = ("a", "b", "c/d")
_operations = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from(_IDS), st.integers(0, 9_000), st.integers(0, 2)),
        st.tuples(st.just("cancel"), st.sampled_from(_IDS)),
        st.tuples(st.just("end"), st.sampled_from(_IDS), st.integers(0, 2)),
        st.tuples(st.just("pass"), st.integers(1, 5_000)),
        st.tuples(st.just("fail")),
        st.tuples(st.just("rebuild")),
    ),
    max_size=40,
)


@settings(max_examples=150)
@example([("wait", "b", 0, 0), ("wait", "b", 0, 1), ("cancel", "b")], 0, 1)
@example([("wait", "a", 3, 1), ("pass", 1), ("wait", "a", 0, 0), ("pass", 1)], 0, 1)
@given(_operations, st.sampled_from([0, 1, 5_000, 60_000]), st.integers(1, 3))
def test_each_timer_fires_once_and_none_early(
    operations: list[Any], near_ms: int, room: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timershard, "NEAR_MS", near_ms)
        patch.setattr(timershard, "ROOM_RECORDS", 4 * room)
        patch.setattr(timershard, "_MOST_STALE", 0)
        _compare(operations)


def _compare(operations: Sequence[Any]) -> None:
    log, now = Partition(), NOW
    waiting: dict[str, tuple[int, str]] = {}  # the model: due time and id by key
    expected: list[tuple[str, int]] = []

    def fire() -> None:
        due = sorted(key for key, (due_ms, _) in waiting.items() if due_ms <= now)
        expected.extend((waiting.pop(key)[1], now) for key in due)
        log.run(now)
        log.read()

    for operation, *given_ in operations:
        if operation == "wait":
            id, delay, unique = given_
            log.wait(id, now + delay, unique=str(unique), now_ms=now)
            waiting[f"{id}/{unique}"] = (now + delay, id)
        elif operation == "cancel":
            log.cancel(given_[0], now)
            for key in [key for key, (_, id) in waiting.items() if id == given_[0]]:
                del waiting[key]
        elif operation == "end":
            id, unique = given_
            log.end(f"{id}/{unique}".encode())
            waiting.pop(f"{id}/{unique}", None)
        elif operation == "pass":
            now += given_[0]
            fire()
        elif operation == "fail":
            log.take(now)
            log.rebuild()
        else:
            log.rebuild()
    now += 10_000
    fire()
    assert sorted(log.fired) == sorted(expected)
    assert len(log.shard) == 0
    assert log.shard.next_due() is None
