"""`transport.logs` of `memory://`: what outlives tasks, and hosts that fire what is due by the cluster's clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from taskq.memory.cluster import Cluster
from taskq.memory.errors import QueueMissing, RecordTooLarge
from taskq.memory.log import Log
from taskq.memory.options import MemoryOptions
from taskq.memory.publisher import RECORD_MAX_BYTES, Publisher, record_size
from taskq.memory.statelog import HostGroup, StateLog, StoredRecord
from taskq.protocols import StoredDeadLetter
from taskq.timing.shards import Firing, Shard, ShardStatus, TimerLetter, Write

LETTERS = "taskq.timers"
"""Whose dead-letter topic takes what cannot be fired."""

_LOOK_SECONDS = 0.02
"""Of the cluster's clock between two looks of a host; a test that moves the clock ends the wait."""

_HEADROOM = 65_536  # bytes that a log's records may be larger than a queue's, as on Kafka


class Logs:
    """A `taskq.timing.shards.Logs`. Any thread may call it; nothing blocks, so timeouts mean nothing."""

    def __init__(self, cluster: Cluster, options: MemoryOptions, publisher: Publisher) -> None:
        """Keep the logs in this cluster."""
        self._cluster = cluster
        self._options = options
        self._publisher = publisher

    def append(self, writes: Sequence[Write], *, timeout: float) -> list[Exception | None]:
        """Write records, and return for each None or why it was not written."""
        return [self._append_one(write) for write in writes]

    def require(self, writes: Sequence[Write]) -> None:
        """Raise if one of the records is too large to be written.

        Raises:
            RecordTooLarge: The first that is.
        """
        for write in writes:
            error = _too_large(write)
            if error is not None:
                raise error

    def _append_one(self, write: Write) -> Exception | None:
        if (error := _too_large(write)) is not None:
            return error
        try:
            with self._cluster.waking() as log:
                state = self._state(log, write.log)
                if write.queue is not None:
                    self._publisher.prepare(log, write.queue)
                partition = state.partition_of(write.route)
                now_ms = self._cluster.now_ms()
                state.append(partition, write.key, write.value, tuple(write.headers), now_ms)
        except (LookupError, ValueError) as refusal:
            return refusal
        return None

    def check(self, log: str, *, timeout: float) -> None:
        """Make a log if it is missing.

        Raises:
            QueueMissing: It is, and may not be made.
        """
        with self._cluster.locked() as found:
            self._state(found, log)

    def read(self, log: str, *, route: bytes | None = None, timeout: float) -> list[StoredRecord]:
        """Return all records of a log, or those of the partition of a route."""
        with self._cluster.locked() as found:
            state = found.states.get(self._options.prefix + log)
            if state is None:
                return []
            numbers = range(len(state.partitions))
            return state.read(numbers if route is None else [state.partition_of(route)])

    def follow(self, log: str) -> Follower:
        """Return a reader of the log that goes on with what comes later."""
        return Follower(self._cluster, self._options.prefix + log)

    def host(
        self,
        log: str,
        group: str,
        open_shard: Callable[[int], Shard],
        *,
        now_ms: Callable[[], int],
    ) -> Host:
        """Return a host of the log's shards."""
        return Host(self, log, group, open_shard, now_ms)

    def _state(self, log: Log, name: str) -> StateLog:
        whole = self._options.prefix + name
        if whole not in log.states:
            if not self._options.auto_create:
                raise QueueMissing(name)
            log.states[whole] = StateLog()
        return log.states[whole]


class Follower:
    """A `taskq.timing.shards.Follower`. Used by one thread."""

    def __init__(self, cluster: Cluster, log: str) -> None:
        """Begin at the log's first record; `log` is its name with the prefix."""
        self._cluster = cluster
        self._log = log
        self._positions: dict[int, int] = {}
        self.is_caught_up = False

    def fetch(self, timeout: float) -> list[StoredRecord]:
        """Return what has come; waits up to `timeout` seconds for the first."""
        found: list[StoredRecord] = []
        with self._cluster.changed:
            self._cluster.changed.wait_for(
                lambda: self._take(found) or not self.is_caught_up, timeout
            )
            self.is_caught_up = True
        return found

    def _take(self, found: list[StoredRecord]) -> bool:
        with self._cluster.locked() as log:
            state = log.states.get(self._log)
            for number, records in enumerate([] if state is None else state.partitions):
                found += records[self._positions.get(number, 0) :]
                self._positions[number] = len(records)
        return bool(found)

    def close(self) -> None:
        """Do nothing: nothing is connected."""


def _too_large(write: Write) -> Exception | None:
    size = record_size(write.key, write.value, write.headers)
    return RecordTooLarge(write.log, size) if size > RECORD_MAX_BYTES + _HEADROOM else None


class Host:
    """A `taskq.timing.shards.ShardHost`."""

    def __init__(
        self,
        logs: Logs,
        log: str,
        group: str,
        open_shard: Callable[[int], Shard],
        now_ms: Callable[[], int],
    ) -> None:
        self._logs = logs
        self._log = log
        self._group = group
        self._open_shard = open_shard
        self._now_ms = now_ms
        self._stopping = threading.Event()

    def run(self) -> None:
        """Fire what is due until `stop`; blocks by the cluster's clock."""
        clock = self._logs._cluster.clock
        self.join()
        try:
            while not self._stopping.is_set():
                self.step()
                clock.wait(self._stopping, _LOOK_SECONDS)
        finally:
            self.leave()

    def join(self) -> None:
        """Take a share of the shards."""
        self._logs.check(self._log, timeout=0)
        with self._logs._cluster.locked() as log:
            self._members(log).hosts.append(self)

    def leave(self) -> None:
        """Leave the shards to the others."""
        with self._logs._cluster.locked() as log:
            self._members(log).hosts.remove(self)

    def step(self) -> list[Firing]:
        """Fire all that is due now, the earliest first in all shards, and return it."""
        fired: list[Firing] = []
        with self._logs._cluster.waking() as log:
            group, state = self._members(log), self._logs._state(log, self._log)
            while (due := self._next(group, state)) is not None:
                partition, shard, firing = due
                firing = self._write(log, state, partition, shard, firing)
                shard.settle([firing])
                fired.append(firing)
        return fired

    def stop(self) -> None:
        """Let `run` return soon."""
        self._stopping.set()

    def wake(self) -> None:
        """Do nothing: it looks all the time."""

    def status(self) -> ShardStatus:
        """Return its place."""
        with self._logs._cluster.locked() as log:
            group, state = self._members(log), log.states.get(self._name)
            if state is None or self not in group.hosts:
                return ShardStatus()
            shards = dict(group.shards_of(self, state, self._open_shard))
            waiting = sum(map(len, shards.values()))
            return ShardStatus(True, tuple(shards), tuple(shards), waiting)

    @property
    def _name(self) -> str:
        return self._logs._options.prefix + self._log

    def _members(self, log: Log) -> HostGroup:
        return log.hosts.setdefault((self._name, self._group), HostGroup())

    def _next(self, group: HostGroup, state: StateLog) -> tuple[int, Shard, Firing] | None:
        """Return what is due first in all shards of this host, which have seen all that was written."""
        now_ms = self._now_ms()
        found: list[tuple[int, int, Shard]] = []
        for partition, shard in group.shards_of(self, state, self._open_shard):
            while wanted := shard.wanted(now_ms):
                shard.load([state.partitions[partition][offset] for offset in wanted])
            due = shard.next_due()
            if due is not None and due <= now_ms:
                found.append((due, partition, shard))
        for _, partition, shard in sorted(found, key=lambda each: each[:2]):
            for firing in shard.take(now_ms, 1):
                return partition, shard, firing
        return None

    def _write(
        self, log: Log, state: StateLog, partition: int, shard: Shard, firing: Firing
    ) -> Firing:
        """Write all of a firing, or what its shard has in its place."""
        try:
            entries = [self._logs._publisher.entry(log, message) for message in firing.messages]
        except (LookupError, ValueError) as error:
            firing, entries = shard.give_up(firing, "refused", str(error)), []
        for topic, entry in entries:
            log.topics[topic].append(entry)
        now_ms = self._logs._cluster.now_ms()
        for key, value in firing.writes:
            state.append(partition, key, value, (), now_ms)
        for letter in firing.letters:
            _put_aside(log, self._logs._options.prefix, letter, now_ms)
        return firing


def _put_aside(log: Log, prefix: str, letter: TimerLetter, now_ms: int) -> None:
    id = letter.key.decode(errors="backslashreplace")
    stored = StoredDeadLetter(id, LETTERS, letter.value, tuple(letter.headers), now_ms)
    log.dead.setdefault(prefix + LETTERS, {})[id] = stored
