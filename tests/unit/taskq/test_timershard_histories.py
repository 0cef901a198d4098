"""A shard under any history of its log: whatever is written, lost and built anew, by whomever, and however records come.

The model is the log itself, read plainly: the newest record of a key counts, a cancel record ends what stands before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from taskq.protocols import Outgoing
from taskq.timing import timershard
from taskq.timing.shards import Firing, Write
from taskq.timing.timers import cancel_write, timer_write
from taskq.timing.timershard import TimerShard
from tests.support.logrecords import StoredRecord

AT = datetime(2026, 11, 23, 17, tzinfo=timezone.utc)
BEGIN = 1_000_000
FAR = 90_000_000
IDS = st.sampled_from(("a", "b", "c/d"))
UNIQUES = st.sampled_from(("1", "2"))


@dataclass(frozen=True)
class Waiting:
    """A timer as the log has it."""

    id: str
    due_ms: int
    kind: str


class History:
    """A partition's log with holes, and what it means if it is read plainly."""

    def __init__(self) -> None:
        self.records: list[StoredRecord] = []
        self._kinds: dict[int, Waiting] = {}

    @property
    def end(self) -> int:
        return self.records[-1].offset + 1 if self.records else 0

    def write(self, write: Write, now_ms: int, waiting: Waiting | None = None) -> StoredRecord:
        offset = self.end + 1
        headers = tuple(write.headers)
        record = StoredRecord(3, offset, now_ms, write.key, write.value, headers)
        self.records.append(record)
        if waiting is not None:
            self._kinds[offset] = waiting
        return record

    def timer(self, id: str, unique: str, due_ms: int, now_ms: int) -> StoredRecord:
        headers = [("task", b"t"), ("id", id.encode())]
        message = Outgoing("q", b"value", headers)
        write = timer_write(message, task_id=id, due_ms=due_ms, unique=unique)
        return self.write(write, now_ms, Waiting(id, due_ms, "timer"))

    def other(self, id: str, unique: str, kind: str, now_ms: int) -> StoredRecord:
        """Write a record that this version cannot read; `kind` is its format."""
        write = Write("", b"", f"{id}/{unique}".encode(), b"?", [("timer-format", kind.encode())])
        return self.write(write, now_ms, Waiting(id, 0, kind))

    def end_of(self, key: bytes, now_ms: int) -> None:
        self.write(Write("", b"", key, None), now_ms)

    def standing(self, end: int) -> dict[bytes, Waiting]:
        """Return what waits by key, if the log is read up to an offset."""
        found: dict[bytes, Waiting] = {}
        for record in self.records:
            if record.offset >= end:
                break
            if record.value is None:
                found.pop(record.key, None)
            elif record.key.endswith(b"/cancel"):
                id = record.key.rpartition(b"/")[0].decode()
                for key in [key for key, each in found.items() if each.id == id]:
                    if found[key].kind != "2":  # who is newer cancels its own
                        del found[key]
            else:
                found[record.key] = self._kinds[record.offset]
        return found

    def compact(self) -> None:
        """Drop what is not the newest of its key."""
        last = {record.key: record.offset for record in self.records}
        self.records = [each for each in self.records if last[each.key] == each.offset]

    def __iter__(self) -> Iterator[StoredRecord]:
        return iter(self.records)


class ShardMachine(RuleBasedStateMachine):
    """A shard, its host and others who write to the log."""

    def __init__(self) -> None:
        super().__init__()
        self._patches = ExitStack()

    @initialize(
        near_ms=st.sampled_from((-FAR, 1, 3_000, 60_000)),
        room=st.integers(1, 4),
    )
    def begin(self, near_ms: int, room: int) -> None:
        patch = self._patches.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(timershard, "NEAR_MS", near_ms)
        patch.setattr(timershard, "ROOM_RECORDS", 4 * room)
        patch.setattr(timershard, "_MOST_STALE", 2)
        self.log = History()
        self.now = BEGIN
        self.former_end = 0
        self.open()

    def open(self) -> None:
        """Build the shard anew; what was not committed is forgotten."""
        self.shard = TimerShard(3)
        self.position = 0
        self.taken: list[Firing] = []
        self.wanted: set[int] = set()
        self.has_fired = False

    # Others

    @rule(id=IDS, unique=UNIQUES, delay=st.integers(-1_000, 9_000) | st.just(FAR))
    def write_timer(self, id: str, unique: str, delay: int) -> None:
        self.log.timer(id, unique, self.now + delay, self.now)

    @rule(id=IDS)
    def cancel(self, id: str) -> None:
        self.log.write(cancel_write(id, AT), self.now)

    @rule(id=IDS, unique=UNIQUES)
    def end_by_a_former_owner(self, id: str, unique: str) -> None:
        if (
            not self.has_fired
        ):  # who fires has shut out all others, and then read what they had written
            self.log.end_of(f"{id}/{unique}".encode(), self.now)
            self.former_end = self.log.end

    @rule(id=IDS, unique=UNIQUES, kind=st.sampled_from(("2", "x")))
    def write_unreadable(self, id: str, unique: str, kind: str) -> None:
        self.log.other(id, unique, kind, self.now)

    @rule(ms=st.integers(-5_000, 9_000))
    def let_time_pass(self, ms: int) -> None:
        self.now += ms

    # The host

    @rule(count=st.integers(1, 9))
    def read(self, count: int) -> None:
        rest = [record for record in self.log if record.offset >= self.position]
        for record in rest[:count]:
            self.shard.apply(record)
            self.position = record.offset + 1

    @rule(come=st.integers(0, 3))
    def fetch(self, come: int) -> None:
        self.wanted.update(self.shard.wanted(self.now))
        found = [record for record in self.log if record.offset in self.wanted]
        self.shard.load(found[:come])
        self.wanted.difference_update(record.offset for record in found[:come])

    @rule(limit=st.integers(1, 5))
    def take(self, limit: int) -> None:
        if self.position < self.former_end:
            return
        self.has_fired = True
        standing = self.log.standing(self.position)
        under_way = {key for firing in self.taken for key, _ in firing.writes}
        firings = self.shard.take(self.now, limit)
        for firing in firings:
            if firing.messages or firing.letters:
                [(key, value)] = firing.writes
                assert value is None
                waiting = standing[key]  # neither cancelled nor ended
                assert waiting.due_ms <= self.now
                assert waiting.kind == ("timer" if firing.messages else "x")
                assert key not in under_way  # nor taken twice
            under_way.update(key for key, _ in firing.writes)
        self.taken += firings

    @rule()
    def commit(self) -> None:
        for firing in self.taken:
            for key, _ in firing.writes:
                self.log.end_of(key, self.now)
        self.shard.settle(self.taken)
        self.taken = []

    @rule(compacted=st.booleans())
    def fail(self, compacted: bool) -> None:
        if compacted:
            self.log.compact()
        self.open()

    # What holds

    @invariant()
    def one_that_is_due_is_heard_of(self) -> None:
        next_due = self.shard.next_due()
        assert next_due is not None or not len(self.shard)

    def teardown(self) -> None:
        with self._patches:
            if hasattr(self, "log"):
                self.finish()

    def finish(self) -> None:
        """Let all time pass: nothing waits any more but what is newer, and nothing is left in memory."""
        self.commit()
        self.now += 2 * FAR
        for _ in range(200):
            self.read(1_000)
            self.now += timershard.ASK_AGAIN_MS
            self.fetch(1_000)
            self.take(5)
            self.commit()
            if self.position >= self.log.end and self.shard.next_due() is None:
                break
        assert {each.kind for each in self.log.standing(self.log.end).values()} <= {"2"}
        assert (len(self.shard), self.shard.next_due()) == (0, None)
        assert not self.shard._whole
        assert not self.shard._cancelled
        assert len(self.shard._kept) == len(self.shard._fetched) == 0


TestShard = ShardMachine.TestCase
TestShard.settings = settings(max_examples=120, stateful_step_count=40)


def build(records: Sequence[StoredRecord]) -> TimerShard:
    shard = TimerShard(3)
    for record in records:
        shard.apply(record)
    return shard


def test_a_newer_record_takes_the_place_of_one_under_its_key() -> None:
    log = History()
    log.timer("a", "1", BEGIN, BEGIN)
    log.other("a", "1", "2", BEGIN)

    shard = build(log.records)

    assert shard.take(BEGIN, 500) == []
    assert len(shard) == 0


@pytest.mark.parametrize("delay", [1, FAR], ids=["near", "far"])
def test_what_has_ended_costs_no_memory_before_the_log_is_compacted(delay: int) -> None:
    log = History()
    for number in range(5_000):
        log.timer(str(number), "1", BEGIN + delay, BEGIN)
        log.end_of(f"{number}/1".encode(), BEGIN)

    shard = build(log.records)

    assert len(shard._near) + len(shard._far) < 1_100
    assert not shard._whole


def test_what_was_cancelled_and_has_ended_costs_no_memory() -> None:
    log = History()
    for number in range(100):
        log.timer(str(number), "1", BEGIN + FAR, BEGIN)
        log.write(cancel_write(str(number), AT), BEGIN)
        log.end_of(f"{number}/1".encode(), BEGIN)
        log.end_of(f"{number}/cancel".encode(), BEGIN)

    shard = build(log.records)

    assert not shard._to_ask
    assert not shard._cancels
    assert shard.next_due() is None


def test_thousands_of_timers_of_one_task_are_one_timer_each() -> None:
    log = History()
    for number in range(2_000):
        log.timer("same", str(number), BEGIN + number, BEGIN)
    shard = build(log.records)

    assert len(shard) == 2_000
    assert len(shard.take(BEGIN + 999, 5_000)) == 1_000


@pytest.mark.parametrize("delay", [1, FAR], ids=["near", "far"])
def test_ids_with_one_hash_are_two_tasks(delay: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timershard, "_ID", 0)
    log = History()
    for id in "ab":
        log.timer(id, "1", BEGIN + delay, BEGIN)
    log.write(cancel_write("a", AT), BEGIN)
    shard = build(log.records)
    due = BEGIN + delay

    wanted = shard.wanted(due)
    shard.load([record for record in log if record.offset in wanted])
    firings = shard.take(due, 500)

    assert [[key for key, _ in firing.writes] for firing in firings] == [
        [b"a/1", b"a/cancel"],
        [b"b/1"],
    ]
    assert shard.wanted(due + FAR) == []  # what was fetched is not fetched again


def test_no_value_of_a_cancel_record_is_too_deep() -> None:
    log = History()
    log.timer("a", "1", BEGIN, BEGIN)
    log.write(Write("", b"", b"a/cancel", b"[" * 100_000), BEGIN)

    [firing] = build(log.records).take(BEGIN, 500)

    assert {key for key, _ in firing.writes} == {b"a/1", b"a/cancel"}


def test_a_stored_log_of_format_1_is_read() -> None:
    stored = json.loads(
        '[["a/0123abcd", "[[], {}, {}]", [["task", "t"], ["id", "a"], ["eta", "1970-01-01T00:16:40+00:00"],'
        ' ["timer-format", "1"], ["timer-due", "1000000"], ["timer-queue", "billing"], ["timer-key", "k"]]],'
        ' ["b/q-3-17", "x", [["timer-format", "1"], ["timer-due", "999999"], ["timer-queue", "q"]]],'
        ' ["c/0123abcd", "x", [["timer-format", "1"], ["timer-due", "999999"], ["timer-queue", "q"]]],'
        ' ["c/cancel", "{\\"format\\": 1, \\"at\\": \\"2026-11-23T17:00:00Z\\"}", []]]'
    )
    log = History()
    for key, value, headers in stored:
        pairs = [(name, text.encode()) for name, text in headers]
        log.write(Write("", b"", key.encode(), value.encode(), pairs), BEGIN)

    cancelled, first, second = build(log.records).take(BEGIN, 500)

    assert dict(cancelled.writes) == {b"c/0123abcd": None, b"c/cancel": None}
    assert (first.name, first.writes) == ("b", ((b"b/q-3-17", None),))
    [message] = second.messages
    assert (message.queue, message.key, message.value) == ("billing", b"k", b"[[], {}, {}]")
    assert [name for name, _ in message.headers] == ["task", "id", "eta", "taskq-fired"]
