"""Logs: compacted topics of taskq's own, in which what has to outlive processes stands. `transport.logs` of taskq.

The newest record of a key counts, one without value takes the key out. Their topics are made and looked at in logtopics.py, their
shards owned in shardhost.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Final, Protocol

from .admin import Admin
from .errors import TaskqKafkaError
from .logfollower import LogFollower
from .logrecords import LogRecord
from .options import TransportOptions
from .producer import Route
from .publisher import Publisher
from .reader import Reader
from .shardhost import ShardHost
from .shardset import Shard
from .shared import shared
from .topics import log_partition, topic_of

WRITES: Final = frozenset({"Write"})
OWNS: Final = frozenset({"Read", "Write"})
"""What a log is used for, as rights of Kafka."""


class Write(Protocol):
    """One record to be written to a log."""

    @property
    def log(self) -> str:
        """The log's name, without prefix."""

    @property
    def route(self) -> bytes:
        """What decides the partition: all records of one route stand in one."""

    @property
    def key(self) -> bytes:
        """Kafka's key."""

    @property
    def value(self) -> bytes | None:
        """None takes the key out of the log."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Headers, as bytes."""

    @property
    def queue(self) -> str | None:
        """A queue that it will lead to: its topic is to exist before this is written."""


class _Line:
    """One write as a record for the producer."""

    __slots__ = ("headers", "key", "partition", "queue", "value")

    def __init__(self, write: Write, partition: int) -> None:
        self.queue = write.log
        self.partition = partition
        self.key = write.key
        self.value = write.value
        self.headers: Sequence[tuple[str, bytes | None]] = write.headers


class Logs:
    """The logs of a cluster; one object a process and configuration. Any thread may call it."""

    def __init__(self, options: TransportOptions) -> None:
        """Build it; nothing is connected yet."""
        self._options = options
        self._route = Route(self._topic_of, self._make_again, lambda line: int(line.partition))
        self._partitions: dict[str, int] = {}
        """Of the logs that were looked at, and so may be written to."""
        self._lock = threading.Lock()
        self._readers: list[Reader] = []
        """Those that nobody uses now."""

    def append(self, writes: Sequence[Write], *, timeout: float) -> list[TaskqKafkaError | None]:
        """Write records and wait until the broker has acknowledged each; topics are made and checked before their first record.

        Blocks for `timeout` seconds at most. A process that dies meanwhile may have written some of them.

        Returns:
            For each None, or the error, which means unknown, not unsent, unless its attribute `sent` is False.
        """
        deadline = time.monotonic() + timeout
        logs = {log: self._refusal(log, deadline) for log in {write.log for write in writes}}
        names = {write.queue for write in writes if write.queue is not None}
        queues = {queue: self._prepare(queue, deadline) for queue in names}
        errors = [
            logs[write.log] or (queues[write.queue] if write.queue is not None else None)
            for write in writes
        ]
        good = [index for index, error in enumerate(errors) if error is None]
        lines = [
            _Line(write, log_partition(write.route, self._partitions[write.log]))
            for write in (writes[index] for index in good)
        ]
        remaining = max(0.0, deadline - time.monotonic())
        sent = self._publisher.append(lines, self._route, timeout=remaining) if lines else []
        for index, error in zip(good, sent, strict=True):
            errors[index] = error
        return errors

    def check(self, log: str, *, timeout: float) -> None:
        """Make a log's topic if it is missing, and see that it is fit: compacted, and ours to read and write.

        Raises:
            ConnectionError: No broker answered.
            ValueError: It is missing and may not be made, or would lose records, or we have not the rights; says what to do.
        """
        self._partitions[log] = self._admin.ready_log(log, OWNS, timeout=timeout)

    def read(self, log: str, *, route: bytes | None = None, timeout: float) -> Iterator[LogRecord]:
        """Yield all records that stand in a log now, each partition in its order; none if it has no topic.

        Args:
            log: Its name.
            route: Read only the partition of this route.
            timeout: Seconds without anything new after which it is given up.

        Raises:
            TaskqKafkaError: The broker sent nothing for so long, or we may not read it.
        """
        partitions = self._admin.log_partitions(log, timeout=timeout)
        if not partitions:
            return
        wanted = range(partitions) if route is None else [log_partition(route, partitions)]
        topic = self._topic_of(log)
        starts = [(topic, number, 0) for number in wanted]
        reader = self._take_reader()
        try:
            with closing(reader.scan(starts, until_ms=None, patience=timeout)) as messages:
                yield from map(LogRecord, messages)
        finally:
            with self._lock:
                self._readers.append(reader)

    def follow(self, log: str) -> LogFollower:
        """Return a reader of the log that goes on with what comes later, without a group; nothing is connected yet."""
        timeout = self._options.connect_timeout
        return LogFollower(
            self._options, log, partitions=lambda: self._admin.log_partitions(log, timeout=timeout)
        )

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

        def check() -> None:
            self.check(log, timeout=self._options.connect_timeout)

        return ShardHost(self._options, log, group, open_shard, now_ms=now_ms, check=check)

    @property
    def _admin(self) -> Admin:
        return shared(Admin, self._options)

    @property
    def _publisher(self) -> Publisher:
        return shared(Publisher, self._options)

    def _topic_of(self, log: str) -> str:
        return topic_of(self._options.prefix, log)

    def _refusal(self, log: str, deadline: float) -> TaskqKafkaError | None:
        """Return why a log cannot be written to; looked at once a process."""
        if log in self._partitions:
            return None
        try:
            remaining = max(0.0, deadline - time.monotonic())
            self._partitions[log] = self._admin.ready_log(log, WRITES, timeout=remaining)
        except TaskqKafkaError as error:
            error.sent = False
            return error
        return None

    def _prepare(self, queue: str, deadline: float) -> TaskqKafkaError | None:
        remaining = max(0.0, deadline - time.monotonic())
        return self._publisher.prepare(queue, timeout=remaining)

    def _make_again(self, log: str, timeout: float) -> None:
        """Make the topic of a log that was looked at before and has been deleted since."""
        self._partitions[log] = self._admin.ready_log(log, WRITES, timeout=timeout)

    def _take_reader(self) -> Reader:
        """Return a reader of which nobody reads: one read runs on each at a time, and making one takes longer than reading."""
        with self._lock:
            return self._readers.pop() if self._readers else Reader(self._options)
