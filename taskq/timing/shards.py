"""What taskq asks of a transport for what has to outlive processes: logs, their shards and who owns them, as Protocols.

A log is a compacted topic of taskq's own: the newest record of a key counts, one without value takes the key out. Each of its
partitions is a shard, with one owner in a group of hosts. The owner keeps what the shard means in memory (`Shard`, taskq's, pure),
and writes what follows from it in transactions (`ShardHost`, the transport's). A transport has these as attribute `logs`.

Errors are as in protocols.py. Nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from taskq.protocols import HeaderList, Outgoing


@dataclass(frozen=True, slots=True)
class Write:
    """One record to be written to a log."""

    log: str
    """The log's name without prefix, such as `taskq.timers`."""

    route: bytes
    """What decides the partition: all records of one route stand in one."""

    key: bytes
    value: bytes | None
    """None takes the key out of the log."""

    headers: Sequence[tuple[str, bytes]] = ()
    queue: str | None = None
    """A queue that it will lead to: its topic is to exist before this is written."""


class LogRecord(Protocol):
    """One record of a log."""

    @property
    def partition(self) -> int:
        """The partition's number."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp_ms(self) -> int:
        """When it was written, in milliseconds since 1970."""

    @property
    def key(self) -> bytes:
        """What it is about; empty where the record has none."""

    @property
    def value(self) -> bytes | None:
        """None: the key is taken out of the log."""

    @property
    def headers(self) -> HeaderList:
        """The headers as they stand there."""


@dataclass(frozen=True, slots=True)
class TimerLetter:
    """A dead letter of what could not be fired, for the topic `taskq.timers.dlq`; `protocols.DeadLetter` is for queues."""

    key: bytes
    """LOG/PARTITION/OFFSET of the record that it comes from, made unique if there are several."""

    value: bytes
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Firing:
    """What a shard has decided: all of it is written in one transaction, or nothing."""

    name: str
    """What it is, for log lines: a task's id, a schedule's name."""

    messages: Sequence[Outgoing] = ()
    """Records to queues."""

    writes: Sequence[tuple[bytes, bytes | None]] = ()
    """Keys and values to the shard's own partition; None takes the key out."""

    letters: Sequence[TimerLetter] = ()
    token: object = None
    """The shard's own, to know it again."""


class Shard(Protocol):
    """What one partition of a log means: its records go in, what is due comes out.

    Pure but for the instants it is given: no clock, no broker. One thread owns it. It is forgotten and built anew from the log
    whenever its owner changes or a transaction fails, so the log alone has to tell everything.
    """

    def apply(self, record: LogRecord) -> None:
        """Take the next record in the log's order, also those that it has decided itself; one that was seen changes nothing.

        Never raises for what a record holds: what cannot be read becomes a firing with a letter, or is left untouched.
        """

    def next_due(self) -> int | None:
        """Return when `take` or `wanted` will have something, in milliseconds since 1970; may have passed. None: never."""

    def wanted(self, now_ms: int) -> Sequence[int]:
        """Return the offsets of records that are due soon and were not kept whole, to save memory; they come by `load`."""

    def load(self, records: Sequence[LogRecord]) -> None:
        """Take whole records that were wanted, in any order; one that is no more in the log does not come."""

    def take(self, now_ms: int, limit: int) -> Sequence[Firing]:
        """Return about `limit` firings at most that are due now, earliest first; they count as under way.

        What the clock of `now_ms` has not reached is never among them.
        """

    def settle(self, firings: Sequence[Firing]) -> None:
        """Note that firings were committed. A transaction that failed is not told: the shard is built anew."""

    def give_up(self, firing: Firing, reason: str, error: str) -> Firing:
        """Return what is to be written in the place of a firing that the broker refuses: its letter and its end."""

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


class ShardHost(Protocol):
    """Owns shards of a log together with the other hosts of its group, and fires what is due. One thread is in `run`."""

    def run(self) -> None:
        """Join the group and fire what is due until `stop` is called; then end the transaction, let go of the shards and leave.

        Once it runs it lasts: while the broker is away it waits; what fails is said in the log, and begun anew.

        Raises:
            ConnectionError: No broker answered within `connect_timeout` seconds at the start.
            ValueError: As `Logs.check`.
        """

    def stop(self) -> None:
        """Let `run` return soon. Any thread may call it."""

    def wake(self) -> None:
        """Let it ask its shards at once, because something outside of the log has changed. Any thread may call it."""

    def status(self) -> ShardStatus:
        """Return its place. Any thread may call it."""


class Follower(Protocol):
    """Reads a log from its beginning and goes on with what is written later. One thread uses it."""

    @property
    def is_caught_up(self) -> bool:
        """Whether all that stood there at the first `fetch` has been returned."""

    def fetch(self, timeout: float) -> Sequence[LogRecord]:
        """Return what has come, each partition in its order; waits up to `timeout` seconds for the first.

        While the log has no topic nothing comes, and it counts as caught up. While the broker is away nothing comes.

        Raises:
            ConnectionError: No broker answered the first question.
            PermissionError: We may not read it.
        """

    def close(self) -> None:
        """Let go of the connection."""


class Logs(Protocol):
    """The logs of a cluster. Any thread may call it; what blocks does so for `timeout` seconds at most."""

    def append(self, writes: Sequence[Write], *, timeout: float) -> Sequence[Exception | None]:
        """Write records and wait until the broker has acknowledged each; topics are made and checked before their first record.

        Returns:
            For each None, or the error, which means unknown, not unsent, unless its attribute `sent` is False.
        """

    def check(self, log: str, *, timeout: float) -> None:
        """Make a log's topic if it is missing, and see that it is fit: compacted, so that nothing in it is dropped.

        Raises:
            ConnectionError: No broker answered.
            ValueError: It is missing and may not be made, or would lose records, or we have not the rights; says what to do.
        """

    def read(self, log: str, *, route: bytes | None = None, timeout: float) -> Iterable[LogRecord]:
        """Return all records that stand in a log now, each partition in its order; none if it has no topic.

        Args:
            log: Its name.
            route: Read only the partition of this route.
            timeout: Seconds without anything new after which it is given up.
        """

    def follow(self, log: str) -> Follower:
        """Return a reader of the log that goes on with what comes later, without a group; nothing is connected yet."""

    def host(
        self,
        log: str,
        group: str,
        open_shard: Callable[[int], Shard],
        *,
        now_ms: Callable[[], int],
    ) -> ShardHost:
        """Return a host of the log's shards; nothing is connected before its `run`.

        Args:
            log: The log's name.
            group: The group of hosts that share it, without prefix. It also begins the hosts' transactional ids.
            open_shard: Makes the shard of a partition, empty.
            now_ms: The clock by which things are due, in whole milliseconds since 1970, rounded down.
        """
