"""The simplest shard there is: each key is due once, its value says when and to which queue. Also a program that hosts such.

    python -m tests.support.toyshard BOOTSTRAP LOG GROUP [hold] [NAME=VALUE of TransportOptions ...]

With `hold` it leaves its first transaction open until SIGUSR1, with all its records on the broker.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

from taskq.protocols import Outgoing
from taskq.shards import Firing, LogRecord, Shard, ShardHost, TimerLetter, Write
from taskq_kafka import forks
from taskq_kafka.logs import Logs
from taskq_kafka.options import TransportOptions
from taskq_kafka.shared import shared


def now_ms() -> int:
    """Return the time in whole milliseconds, rounded down."""
    return time.time_ns() // 1_000_000


def timer(log: str, key: str, due_ms: int, queue: str, *, filling: int = 0) -> Write:
    """Return the write of one timer; fired, it is a record of its key with `filling` more bytes, and due time in a header."""
    value = json.dumps({"due": due_ms, "queue": queue, "filling": filling}).encode()
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
        self.waiting: dict[bytes, dict[str, Any]] = {}
        self.under_way: set[bytes] = set()
        self._forgetful = forgetful
        self._wanted: dict[int, bytes] = {}

    def apply(self, record: LogRecord) -> None:
        """Take the next record."""
        if record.value is None:
            self.waiting.pop(record.key, None)
            self.under_way.discard(record.key)
            return
        entry = json.loads(record.value)
        if self._forgetful:
            entry = {"due": entry["due"], "offset": record.offset}
        self.waiting[record.key] = entry

    def next_due(self) -> int | None:
        """Return when the first is due."""
        return min(
            (
                int(entry["due"])
                for key, entry in self.waiting.items()
                if key not in self.under_way and entry.get("offset") not in self._wanted
            ),
            default=None,
        )

    def wanted(self, now_ms: int) -> Sequence[int]:
        """Return the offsets of what is due and not kept."""
        new = {
            entry["offset"]: key
            for key, entry in self.waiting.items()
            if "offset" in entry and entry["offset"] not in self._wanted and entry["due"] <= now_ms
        }
        self._wanted |= new
        return list(new)

    def load(self, records: Sequence[LogRecord]) -> None:
        """Take whole records."""
        for record in records:
            key = self._wanted.pop(record.offset)
            if key in self.waiting:
                self.waiting[key] = json.loads(record.value or b"{}")

    def take(self, now_ms: int, limit: int) -> Sequence[Firing]:
        """Return what is due."""
        due = sorted(
            (entry["due"], key)
            for key, entry in self.waiting.items()
            if "queue" in entry and entry["due"] <= now_ms and key not in self.under_way
        )[:limit]
        self.under_way |= {key for _, key in due}
        return [self._firing(key) for _, key in due]

    def _firing(self, key: bytes) -> Firing:
        entry = self.waiting[key]
        value = key + b"." * entry["filling"]
        headers = [("due", str(entry["due"]).encode())]
        return Firing(key.decode(), [Outgoing(entry["queue"], value, headers)], [(key, None)])

    def settle(self, firings: Sequence[Firing]) -> None:
        """Forget what was fired."""
        for firing in firings:
            self.waiting.pop(firing.name.encode(), None)

    def give_up(self, firing: Firing, reason: str, error: str) -> Firing:
        """Return a letter."""
        headers = [("dlq-reason", reason.encode()), ("dlq-error", error.encode())]
        letter = TimerLetter(firing.name.encode(), b"given up", headers)
        return Firing(firing.name, (), firing.writes, [letter])

    def __len__(self) -> int:
        """How many wait."""
        return len(self.waiting)


def toy_host(logs: Logs, log: str, group: str, *, forgetful: bool = False) -> ShardHost:
    """Return a host of toy shards."""

    def open_shard(partition: int) -> Shard:
        return ToyShard(partition, forgetful=forgetful)

    # Each package has its own words for the same; taskq.broker casts as well.
    return cast(ShardHost, logs.host(log, group, cast(Any, open_shard), now_ms=now_ms))


def main(bootstrap: str, log: str, group: str, *more: str) -> None:
    """Run a host until SIGTERM; what it logs goes to the output, after the event's name."""
    logging.basicConfig(level=logging.INFO, format="%(event)s: %(message)s", stream=sys.stdout)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_with_event)
    if "hold" in more:
        _hold_transactions()
    options: dict[str, Any] = dict(each.split("=", 1) for each in more if "=" in each)
    host = toy_host(shared(Logs, TransportOptions(bootstrap=bootstrap, **options)), log, group)
    signal.signal(signal.SIGTERM, lambda *_: host.stop())
    thread = threading.Thread(target=host.run)  # a signal's handler runs in the main thread alone
    thread.start()
    thread.join()
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
