"""Logs in memory with hosts that own them in turns, for tests of what runs on them: one partition, one owner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from taskq.protocols import Outgoing
from taskq.scheduling.schedulelog import LOG
from taskq.timing.shards import Firing, LogRecord, Shard, ShardStatus, Write
from tests.support.schedulelog import StoredRecord


class OwnedLogs:
    """The logs of a cluster. Any thread may use it."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.records: list[StoredRecord] = []
        self.sent: list[Outgoing] = []
        self.hosts: list[OwnedHost] = []
        self.refusal: Exception | None = None
        """What every call raises."""

    def append(self, writes: Sequence[Write], *, timeout: float) -> Sequence[Exception | None]:
        self._refuse()
        with self.lock:
            for write in writes:
                self._put(write.key, write.value)
            self.lock.notify_all()
        return [None] * len(writes)

    def check(self, log: str, *, timeout: float) -> None:
        self._refuse()

    def read(self, log: str, *, route: bytes | None = None, timeout: float) -> Iterable[LogRecord]:
        self._refuse()
        with self.lock:
            return list(self.records)

    def host(
        self,
        log: str,
        group: str,
        open_shard: Callable[[int], Shard],
        *,
        now_ms: Callable[[], int],
    ) -> OwnedHost:
        host = OwnedHost(self, group, open_shard, now_ms)
        if log == LOG:  # others own nothing
            self.hosts.append(host)
        return host

    def commit(self, firings: Sequence[Firing]) -> None:
        """Write what a shard has decided; the lock is held."""
        for firing in firings:
            self.sent += firing.messages
            for key, value in firing.writes:
                self._put(key, value)
        self.lock.notify_all()

    def wait_for_ids(self, wanted: Callable[[list[str]], bool], deadline: float = 10.0) -> None:
        """Block until the ids of what was sent are as wanted; fails after `deadline` seconds."""
        with self.lock:
            assert self.lock.wait_for(lambda: wanted(self.ids), deadline), self.ids

    @property
    def ids(self) -> list[str]:
        return [dict(message.headers)["id"].decode() for message in self.sent]

    @property
    def standing(self) -> dict[bytes, bytes]:
        """The newest values, by key."""
        newest = {record.key: record.value for record in self.records}
        return {key: value for key, value in newest.items() if value is not None}

    def _put(self, key: bytes, value: bytes | None) -> None:
        self.records.append(StoredRecord(len(self.records), key, value))

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal


class OwnedHost:
    """A host: the oldest of its group that runs owns the one shard."""

    def __init__(
        self,
        logs: OwnedLogs,
        group: str,
        open_shard: Callable[[int], Shard],
        now_ms: Callable[[], int],
    ) -> None:
        self.group = group
        self.failure: Exception | None = None
        self.is_running = False
        self._logs = logs
        self._open_shard = open_shard
        self._now_ms = now_ms
        self._is_stopped = False

    def run(self) -> None:
        shard: Shard | None = None
        with self._logs.lock:
            self.is_running = True
            while not self._is_stopped:
                if self.failure is not None:
                    self.is_running = False
                    raise self.failure
                if self._owner() is self:
                    shard = shard or self._open_shard(0)
                    self._fire(shard)
                self._logs.lock.wait(0.005)  # the clock of a test tells nobody that it was moved
            self.is_running = False
            self._logs.lock.notify_all()

    def stop(self) -> None:
        with self._logs.lock:
            self._is_stopped = True
            self._logs.lock.notify_all()

    def wake(self) -> None:
        with self._logs.lock:
            self._logs.lock.notify_all()

    def status(self) -> ShardStatus:
        return ShardStatus(member=self.is_running)

    def _owner(self) -> OwnedHost | None:
        running = (
            host for host in self._logs.hosts if host.is_running and host.group == self.group
        )
        return next(running, None)

    def _fire(self, shard: Shard) -> None:
        while True:
            for record in self._logs.records:
                shard.apply(record)
            now_ms = self._now_ms()
            shard.wanted(now_ms)
            firings = shard.take(now_ms, 500)
            if not firings:
                return
            self._logs.commit(firings)
            shard.settle(firings)
