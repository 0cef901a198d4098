"""The shards that a host has open: which are read to their end, what is due next in all of them, and what is fired first.

Pure: records, ends and clock readings come from outside. One thread changes it; `status` may be asked by any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .logrecords import LogRecord


class Outgoing(Protocol):
    """One record to a queue."""

    @property
    def queue(self) -> str:
        """The queue's name, without prefix."""

    @property
    def key(self) -> bytes | None:
        """Kafka's key."""

    @property
    def value(self) -> bytes | None:
        """Kafka's value."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Headers, as bytes."""


class Letter(Protocol):
    """A dead letter of what could not be fired."""

    @property
    def key(self) -> bytes:
        """Unique for what it is about."""

    @property
    def value(self) -> bytes:
        """Kafka's value."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Headers, as bytes."""


class Firing(Protocol):
    """What a shard has decided: all of it is written in one transaction, or nothing."""

    @property
    def name(self) -> str:
        """What it is, for log lines."""

    @property
    def messages(self) -> Sequence[Outgoing]:
        """Records to queues."""

    @property
    def writes(self) -> Sequence[tuple[bytes, bytes | None]]:
        """Keys and values to the shard's own partition; None takes the key out."""

    @property
    def letters(self) -> Sequence[Letter]:
        """Dead letters."""


class Shard(Protocol):
    """What one partition of a log means; taskq's. Forgotten and built anew from the log whenever its owner is in doubt."""

    def apply(self, record: LogRecord) -> None:
        """Take the next record in the log's order."""

    def next_due(self) -> int | None:
        """Return when `take` or `wanted` will have something, in milliseconds since 1970; None: never."""

    def wanted(self, now_ms: int) -> Sequence[int]:
        """Return the offsets of records that are due soon and were not kept whole."""

    def load(self, records: Sequence[LogRecord]) -> None:
        """Take whole records that were wanted, in any order."""

    def take(self, now_ms: int, limit: int) -> Sequence[Firing]:
        """Return what is due now, earliest first."""

    def settle(self, firings: Sequence[Firing]) -> None:
        """Note that firings were committed."""

    def give_up(self, firing: Firing, reason: str, error: str) -> Firing:
        """Return what is to be written in the place of a firing that the broker refuses."""

    def __len__(self) -> int:
        """How many entries wait."""


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """What a host knows about its place, without asking the broker."""

    member: bool = False
    """Whether it is in its group, and was told an assignment."""

    partitions: Sequence[int] = ()
    """The shards it owns."""

    ready: Sequence[int] = ()
    """Those it has read to the end, so that it fires from them."""

    waiting: int = 0
    """Entries in them."""


@dataclass(slots=True)
class OpenShard:
    """One shard that this host has the lease of."""

    partition: int
    shard: Shard
    position: int = 0
    """The offset to read next."""

    ready: bool = False
    """Whether it was read to its end once. Nothing is fired before."""

    end: int | None = None
    """Where that end is, once it is known."""

    held_at: float | None = None
    """Since when, by the monotonic clock, an open transaction keeps it from being read; None also when it was said to hang."""

    held_said: bool = False
    """Whether it was said that one does."""


@dataclass(frozen=True, slots=True)
class Due:
    """A firing and whose it is."""

    owner: OpenShard
    firing: Firing


class ShardSet:
    """Open shards by partition."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: dict[int, OpenShard] = {}
        self.was_ready = False
        """Whether one was ever read to its end: then rights that are missing were taken since."""

    def __contains__(self, partition: object) -> bool:
        return partition in self._open

    def __len__(self) -> int:
        return len(self._open)

    def get(self, partition: int | None) -> OpenShard | None:
        """Return the open shard of a partition, or None if it is not ours."""
        return None if partition is None else self._open.get(partition)

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions of the open shards, in rising order."""
        return tuple(sorted(self._open))

    def positions(self) -> dict[int, int]:
        """Return the offset to read next of each."""
        return {each.partition: each.position for each in self._open.values()}

    def held_longer_than(self, seconds: float, now: float) -> list[OpenShard]:
        """Return the shards that an open transaction has kept from being read for so long."""
        return [
            each
            for each in self._open.values()
            if each.held_at is not None and now - each.held_at >= seconds
        ]

    def open(self, partition: int, shard: Shard) -> None:
        """Enter an empty shard, to be read from the log's beginning."""
        self._open = {**self._open, partition: OpenShard(partition, shard)}

    def forget(self, partitions: Iterable[int]) -> list[int]:
        """Take shards out with all they have in memory; return those that were there."""
        gone = [partition for partition in partitions if partition in self._open]
        self._open = {number: each for number, each in self._open.items() if number not in gone}
        return gone

    def next_due(self) -> int | None:
        """Return when the first of the ready shards will have something; may have passed. None: never."""
        return min((due for due, _ in self._ready_at()), default=None)

    def asked(self, now_ms: int, *, all_of_them: bool = False) -> list[OpenShard]:
        """Return the ready shards that have something now, the longest due first.

        Args:
            now_ms: The clock.
            all_of_them: Also those that say they have nothing yet.
        """
        if all_of_them:
            return [each for each in self._open.values() if each.ready]
        due = [(at, each.partition, each) for at, each in self._ready_at() if at <= now_ms]
        return [each for _, _, each in sorted(due, key=lambda item: item[:2])]

    def _ready_at(self) -> Iterable[tuple[int, OpenShard]]:
        for each in self._open.values():
            if each.ready and (due := each.shard.next_due()) is not None:
                yield due, each

    def status(self, *, member: bool) -> ShardStatus:
        """Return how they stand."""
        shards = list(self._open.values())  # replaced as a whole where it changes
        return ShardStatus(
            member,
            tuple(sorted(each.partition for each in shards)),
            tuple(sorted(each.partition for each in shards if each.ready)),
            sum(len(each.shard) for each in shards),
        )


def take(shards: Iterable[OpenShard], now_ms: int, limit: int) -> list[Due]:
    """Return what is due in shards, `limit` firings or a few more; they count as under way."""
    due: list[Due] = []
    for each in shards:
        if len(due) >= limit:
            break
        due += [Due(each, firing) for firing in each.shard.take(now_ms, limit - len(due))]
    return due


def settle(due: Sequence[Due]) -> None:
    """Tell each shard what was committed of its firings."""
    by_owner: dict[int, tuple[OpenShard, list[Firing]]] = {}
    for each in due:
        by_owner.setdefault(each.owner.partition, (each.owner, []))[1].append(each.firing)
    for owner, firings in by_owner.values():
        owner.shard.settle(firings)


def parts(due: Sequence[Due], suspects: Iterable[int]) -> list[Sequence[Due]]:
    """Return how to try again what was refused together: all but the suspects at once, these alone; in halves without suspects.

    Args:
        due: Two firings or more.
        suspects: Places in `due`.
    """
    alone = sorted(set(suspects))
    if not alone or len(alone) == len(due):
        half = len(due) // 2
        return [due[:half], due[half:]]
    rest = [each for place, each in enumerate(due) if place not in alone]
    return [rest, *([due[place]] for place in alone)]
