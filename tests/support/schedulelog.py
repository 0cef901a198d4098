"""A log of schedules in memory, for tests of what is decided from it: written by hand, or by an owner that may die."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from taskq.message import JSON
from taskq.protocols import HeaderList, Outgoing
from taskq.scheduling.occurrences import Definition
from taskq.scheduling.schedule import read_entries
from taskq.scheduling.schedulelog import Part, definition_to_json, encode, key_of
from taskq.scheduling.scheduleshard import ScheduleShard
from taskq.timing.shards import Firing, TimerLetter, Write

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class StoredRecord:
    """A record of a log."""

    offset: int
    key: bytes
    value: bytes | None
    partition: int = 0
    timestamp_ms: int = 0
    headers: HeaderList = ()


@dataclass
class ScheduleLog:
    """The records of one partition, and what firings sent."""

    records: list[StoredRecord] = field(default_factory=list)
    sent: list[Outgoing] = field(default_factory=list)
    letters: list[TimerLetter] = field(default_factory=list)
    end: int = 0

    def put(self, key: bytes, value: bytes | None) -> None:
        self.records.append(StoredRecord(self.end, key, value))
        self.end += 1

    def write(self, writes: Sequence[Write]) -> None:
        for write in writes:
            self.put(write.key, write.value)

    def define(self, *definitions: Definition) -> None:
        for each in definitions:
            self.put(key_of(each.name, Part.DEFINITION), encode(definition_to_json(each)))

    def remove(self, name: str) -> None:
        self.put(key_of(name, Part.DEFINITION), None)

    def commit(self, firings: Sequence[Firing]) -> None:
        """Write what a shard has decided, as one transaction does."""
        for firing in firings:
            self.sent += firing.messages
            self.letters += firing.letters
            for key, value in firing.writes:
                self.put(key, value)

    def compact(self) -> None:
        """Keep of each key the newest record; one that takes a key out goes as well."""
        newest = {record.key: record for record in self.records}
        self.records = [record for record in newest.values() if record.value is not None]
        self.records.sort(key=lambda record: record.offset)

    @property
    def ids(self) -> list[str]:
        return [dict(message.headers)["id"].decode() for message in self.sent]


class Owner:
    """Reads a log and fires from it, as a host does."""

    def __init__(
        self,
        log: ScheduleLog,
        watching_since: datetime,
        *,
        queue_of: Callable[[str], str] = lambda task: "taskq",
    ) -> None:
        self.log = log
        self.shard = ScheduleShard(
            "jobs",
            queue_of=queue_of,
            format=JSON,
            watching_since=lambda: watching_since,
            host="here",
        )

    def read(self) -> None:
        for record in self.log.records:
            self.shard.apply(record)

    def take(self, now: datetime, limit: int = 500) -> Sequence[Firing]:
        self.read()
        now_ms = (now - EPOCH) // timedelta(milliseconds=1)
        self.shard.wanted(now_ms)
        return self.shard.take(now_ms, limit)

    def fire(self, now: datetime, limit: int = 500) -> None:
        """Fire all that is due."""
        while firings := self.take(now, limit):
            self.log.commit(firings)
            self.shard.settle(firings)


def definition(
    id: str = "a",
    cron: str = "* * * * * *",
    at: datetime | None = None,
    *,
    born: datetime | None = None,
    **keys: Any,
) -> Definition:
    """Return a definition of the namespace `jobs`, loaded at a time."""
    entries, problems = read_entries([{"id": id, "cron": cron, "task": "t", **keys}])
    assert problems == []
    moment = at or datetime(2026, 11, 23, 17, tzinfo=timezone.utc)
    return Definition(entries[0], "jobs", moment, "file:jobs.json", born or moment)
