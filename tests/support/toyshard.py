"""The simplest shard there is: each key is due once, its value says when and to which queue. Also a program that hosts such.

    python -m tests.support.toyshard BOOTSTRAP LOG GROUP [timers] [hold] [NAME=VALUE of TransportOptions ...]

With `timers` the shards are no toys: they are those of waiting tasks, with so little room that many records have to be fetched.
With `hold` it leaves its first transaction open until SIGUSR1, with all its records on the broker.
"""

from __future__ import annotations

import heapq
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from taskq.protocols import Outgoing
from taskq.timing import timershard
from taskq.timing.shards import Firing, LogRecord, Shard, ShardHost, TimerLetter, Write
from taskq.timing.timershard import TimerShard
from taskq_kafka import forks
from taskq_kafka.logs import Logs
from taskq_kafka.options import TransportOptions
from taskq_kafka.shared import shared


def now_ms() -> int:
    """Return the time in whole milliseconds, rounded down."""
    return time.time_ns() // 1_000_000


def timer(log: str, key: str, due_ms: int, queue: str, *, filling: int = 0) -> Write:
    """Return the write of one timer; fired, it is a record of its key with `filling` more bytes, and due time in a header."""
    value = f"{due_ms} {queue} {filling}".encode()
    return Write(log, key.encode(), key.encode(), value)


class ToyShard:
    """Fires what is due, and takes it out."""

    def __init__(self, partition: int, *, forgetful: bool = False) -> None:
        """Make an empty one.

        Args:
            partition: Whose.
            forgetful: Whether to keep offsets only, and to want the records when they are due.
        """
        self.partition = partition
        self._waiting: dict[bytes, tuple[int, int, bytes | None]] = {}
        """By key: when it is due, its offset, and its value."""
        self._due: list[tuple[int, bytes]] = []
        """A heap; what was taken or is no more leaves it when its time comes."""
        self._wanted: dict[int, bytes] = {}
        self._forgetful = forgetful

    def apply(self, record: LogRecord) -> None:
        """Take the next record."""
        if record.value is None:
            self._waiting.pop(record.key, None)
            return
        due = int(record.value.partition(b" ")[0])
        kept = None if self._forgetful else record.value
        self._waiting[record.key] = (due, record.offset, kept)
        heapq.heappush(self._due, (due, record.key))

    def next_due(self) -> int | None:
        """Return when the first is due."""
        while self._due and self._due[0][1] not in self._waiting:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def wanted(self, now_ms: int) -> Sequence[int]:
        """Return the offsets of what is due and not kept."""
        new = []
        while self._forgetful and self._due and self._due[0][0] <= now_ms:
            _, key = self._due[0]
            entry = self._waiting.get(key)
            if entry is not None and entry[2] is not None:
                break
            heapq.heappop(self._due)
            if entry is not None:
                self._wanted[entry[1]] = key
                new.append(entry[1])
        return new

    def load(self, records: Sequence[LogRecord]) -> None:
        """Take whole records."""
        for record in records:
            key = self._wanted.pop(record.offset)
            if key in self._waiting:
                due, offset, _ = self._waiting[key]
                self._waiting[key] = (due, offset, record.value)
                heapq.heappush(self._due, (due, key))

    def take(self, now_ms: int, limit: int) -> Sequence[Firing]:
        """Return what is due."""
        firings: list[Firing] = []
        while self._due and self._due[0][0] <= now_ms and len(firings) < limit:
            _, key = self._due[0]
            entry = self._waiting.get(key)
            if entry is not None and entry[2] is None:
                break
            heapq.heappop(self._due)
            if entry is not None and entry[2] is not None:
                firings.append(self._firing(key, entry[2]))
        return firings

    def _firing(self, key: bytes, value: bytes) -> Firing:
        due, queue, filling = value.split(b" ")
        message = Outgoing(queue.decode(), key + b"." * int(filling), [("due", due)])
        return Firing(key.decode(), [message], [(key, None)])

    def settle(self, firings: Sequence[Firing]) -> None:
        """Forget what was fired."""
        for firing in firings:
            self._waiting.pop(firing.name.encode(), None)

    def give_up(self, firing: Firing, reason: str, error: str) -> Firing:
        """Return a letter."""
        headers = [("dlq-reason", reason.encode()), ("dlq-error", error.encode())]
        letter = TimerLetter(firing.name.encode(), b"given up", headers)
        return Firing(firing.name, (), firing.writes, [letter])

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)


def toy_host(
    logs: Logs,
    log: str,
    group: str,
    *,
    forgetful: bool = False,
    open_shard: Callable[[int], Shard] | None = None,
) -> ShardHost:
    """Return a host of toy shards, or of others."""

    def open_toy(partition: int) -> Shard:
        return ToyShard(partition, forgetful=forgetful)

    # Each package has its own words for the same; taskq.broker casts as well.
    shard = cast(Any, open_shard or open_toy)
    return cast(ShardHost, logs.host(log, group, shard, now_ms=now_ms))


def main(bootstrap: str, log: str, group: str, *more: str) -> None:
    """Run a host until SIGTERM; what it logs goes to the output, after the event's name."""
    logging.basicConfig(level=logging.INFO, format="%(event)s: %(message)s", stream=sys.stdout)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_with_event)
    if "hold" in more:
        _hold_transactions()
    options: dict[str, Any] = dict(each.split("=", 1) for each in more if "=" in each)
    logs = shared(Logs, TransportOptions(bootstrap=bootstrap, **options))
    timershard.ROOM_RECORDS = 40
    host = toy_host(logs, log, group, open_shard=TimerShard if "timers" in more else None)
    signal.signal(signal.SIGTERM, lambda *_: host.stop())
    thread = threading.Thread(target=host.run)  # a signal's handler runs in the main thread alone
    thread.start()
    while thread.is_alive():
        # Not for ever: the kernel may give a signal to another thread, as to a process that just wakes up from a freeze, and who
        # waits for a lock would not hear of it.
        thread.join(0.1)
    print("ended", flush=True)


def _hold_transactions() -> None:
    """Leave the first transaction open until SIGUSR1, with all its records on the broker."""
    go_on = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: go_on.set())
    commit = forks.Producer.commit_transaction

    def hold(producer: forks.Producer, *args: Any) -> None:
        if not go_on.is_set():
            producer.flush()
            print("holding", flush=True)
            go_on.wait()
        commit(producer, *args)

    forks.Producer.commit_transaction = hold  # type: ignore[assignment,method-assign]  # the one way in


def _with_event(record: logging.LogRecord) -> bool:
    record.__dict__.setdefault("event", record.name)
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
