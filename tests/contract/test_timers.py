"""Tasks that wait for their time, on every kind of broker: each is sent once and none early, whoever keeps the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest

from taskq.protocols import Outgoing, Record
from taskq.timing.shards import LogRecord, ShardHost, Write
from taskq.timing.timers import GROUP, LOG, cancel_write, timer_write
from taskq.timing.timershard import TimerShard
from tests.support.brokers import PATIENCE, Broker, fetch, has_nothing, listening
from tests.support.waiting import wait_until

AT = datetime(2026, 11, 23, 17, tzinfo=timezone.utc)
DAY_MS = 86_400_000


def now_ms() -> int:
    """Return the system's time in milliseconds, rounded down."""
    return time.time_ns() // 1_000_000


class Timers:
    """The timers of one broker, behind a prefix of the test's own, and those who keep their time."""

    def __init__(self, broker: Broker, name: str) -> None:
        self._broker = broker
        self._options: dict[str, Any] = {"prefix": f"{name[-40:]}."}
        self._logs = broker.connect(**self._options).transport.logs
        self._threads: dict[ShardHost, threading.Thread] = {}
        self.queue = listening(broker, "q", **self._options)

    def wait(self, id: str, due_ms: int, *, queue: str = "q", value: bytes = b"[]") -> None:
        message = Outgoing(queue, value, [("task", b"add"), ("id", id.encode())], b"key")
        self.append(timer_write(message, task_id=id, due_ms=due_ms))

    def append(self, *writes: Write) -> None:
        errors = self._logs.append(writes, timeout=PATIENCE)
        assert list(errors) == [None] * len(writes)

    def host(self) -> ShardHost:
        """Let one more host keep the time, in a thread; return when it has its share."""
        logs = self._broker.connect(**self._options).transport.logs
        host: ShardHost = logs.host(LOG, GROUP, TimerShard, now_ms=now_ms)
        self._threads[host] = thread = threading.Thread(target=host.run, daemon=True)
        thread.start()
        wait_until(lambda: is_ready(host), timeout=PATIENCE, what="a host with its share")
        return host

    def stop(self, host: ShardHost) -> None:
        host.stop()
        thread = self._threads.pop(host)
        thread.join(PATIENCE)
        assert not thread.is_alive()

    def sent(self, count: int) -> list[str]:
        """Return the ids of the next so many tasks that are sent, none of which was early, sorted."""
        records = fetch(self.queue, count)
        assert all(fired_ms(record) >= due_of(record) for record in records)
        return sorted(header(record, "id") for record in records)

    def standing(self) -> list[LogRecord]:
        """Return what stands in the log and was not taken out."""
        last = {record.key: record for record in self._logs.read(LOG, timeout=PATIENCE)}
        return [record for record in last.values() if record.value is not None]

    def close(self) -> None:
        for host in list(self._threads):
            self.stop(host)


def is_ready(host: ShardHost) -> bool:
    status = host.status()
    return bool(status.ready) and sorted(status.ready) == sorted(status.partitions)


def header(record: Record, name: str) -> str:
    return (dict(record.headers)[name] or b"").decode()


def fired_ms(record: Record) -> int:
    return int(header(record, "taskq-fired"))


def due_of(record: Record) -> int:
    """Return when a task of these tests was due: its id says it."""
    return int(header(record, "id").rpartition("@")[2])


@pytest.fixture
def timers(broker: Broker, queue: str) -> Iterator[Timers]:
    timers = Timers(broker, queue)
    yield timers
    timers.close()


def ids(count: int, due_ms: int) -> Sequence[tuple[str, int]]:
    """Return ids and due times from `due_ms` on, 10 ms apart."""
    return [(f"{n:02}@{due_ms + 10 * n}", due_ms + 10 * n) for n in range(count)]


def test_each_task_is_sent_once_and_none_early(timers: Timers) -> None:
    timers.host()
    waiting = ids(20, now_ms() + 100)
    for id, due in waiting:
        timers.wait(id, due)

    assert timers.sent(20) == sorted(id for id, _ in waiting)
    assert has_nothing(timers.queue)
    assert timers.standing() == []


def test_what_is_sent_is_the_task_as_it_was(timers: Timers) -> None:
    due = now_ms()
    timers.wait(f"a@{due}", due)
    timers.host()

    [record] = fetch(timers.queue, 1)

    assert (record.key, record.value) == (b"key", b"[]")
    assert [name for name, _ in record.headers] == ["task", "id", "taskq-fired"]


def test_what_is_far_waits(timers: Timers) -> None:
    timers.wait("far", now_ms() + DAY_MS)
    host = timers.host()

    assert has_nothing(timers.queue)
    assert host.status().waiting == 1


def test_what_came_due_while_nobody_kept_the_time_is_sent(timers: Timers) -> None:
    waiting = ids(5, now_ms() - DAY_MS)
    for id, due in waiting:
        timers.wait(id, due)

    timers.host()

    assert timers.sent(5) == sorted(id for id, _ in waiting)


def test_who_takes_over_sends_what_was_not_sent_and_nothing_else(timers: Timers) -> None:
    first = timers.host()
    waiting = ids(2, now_ms())
    timers.wait(*waiting[0])
    sent = timers.sent(1)
    timers.stop(first)
    timers.wait(*waiting[1])

    timers.host()

    assert [*sent, *timers.sent(1)] == [id for id, _ in waiting]
    assert has_nothing(timers.queue)


def test_what_is_cancelled_is_not_sent(timers: Timers) -> None:
    due = now_ms()
    timers.wait(f"a@{due}", due)
    timers.wait(f"b@{due}", due)
    timers.append(cancel_write(f"a@{due}", AT))

    timers.host()

    assert timers.sent(1) == [f"b@{due}"]
    assert has_nothing(timers.queue)
    assert timers.standing() == []


def test_what_its_queue_does_not_take_is_put_aside_and_stops_nobody(
    timers: Timers, broker: Broker
) -> None:
    broker.needs("record size")
    due = now_ms()
    timers.wait(f"large@{due}", due, value=b"x" * 1_048_580)
    timers.wait(f"a@{due}", due)

    timers.host()

    assert timers.sent(1) == [f"a@{due}"]
    wait_until(lambda: timers.standing() == [], timeout=PATIENCE, what="the letter")
