"""Logs of state and their shards in one process, by the rules of taskq/timing/shards.py. Pure; logs.py has lock and clock.

Nothing is compacted: a test's log is short. All hosts of a group share one set of shards, as nobody here can die in the middle of
a transaction; each fires from the partitions that are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from zlib import crc32

from taskq.protocols import HeaderList
from taskq.timing.shards import Shard

PARTITIONS = 16
"""Of a log that is made, as on Kafka."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A `taskq.timing.shards.LogRecord`."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes | None
    headers: HeaderList = ()


class StateLog:
    """The records of one log."""

    def __init__(self) -> None:
        self.partitions: list[list[StoredRecord]] = [[] for _ in range(PARTITIONS)]

    def partition_of(self, route: bytes) -> int:
        """Return where the records of a route stand."""
        return crc32(route) % len(self.partitions)

    def append(
        self, partition: int, key: bytes, value: bytes | None, headers: HeaderList, now_ms: int
    ) -> None:
        """Write a record."""
        records = self.partitions[partition]
        records.append(StoredRecord(partition, len(records), now_ms, key, value, headers))

    def read(self, partitions: range | list[int]) -> list[StoredRecord]:
        """Return all records of partitions."""
        return [record for number in partitions for record in self.partitions[number]]


@dataclass
class HostGroup:
    """Those who share a log, and what its shards have come to."""

    hosts: list[object] = field(default_factory=list)
    shards: dict[int, Shard] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)

    def partitions_of(self, host: object, count: int) -> list[int]:
        """Return the share of a host: every n-th partition; nothing of one that has not joined."""
        if host not in self.hosts:
            return []
        return list(range(self.hosts.index(host), count, len(self.hosts)))

    def shard(self, log: StateLog, partition: int, open_shard: Callable[[int], Shard]) -> Shard:
        """Return a shard that knows all that the log has."""
        shard = self.shards.get(partition)
        if shard is None:
            shard = self.shards[partition] = open_shard(partition)
        records = log.partitions[partition]
        for record in records[self.positions.get(partition, 0) :]:
            shard.apply(record)
        self.positions[partition] = len(records)
        return shard

    def shards_of(
        self, host: object, log: StateLog, open_shard: Callable[[int], Shard]
    ) -> Iterator[tuple[int, Shard]]:
        """Yield the shards of a host."""
        for partition in self.partitions_of(host, len(log.partitions)):
            yield partition, self.shard(log, partition, open_shard)
