"""Logs in memory for unit tests: what was written is what is read."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taskq.protocols import HeaderList
from taskq.timing.shards import LogRecord, Write


@dataclass
class StoredRecord:
    """A `taskq.timing.shards.LogRecord`."""

    key: bytes
    value: bytes | None = b""
    headers: HeaderList = ()
    timestamp_ms: int = 0
    partition: int = 0
    offset: int = 0


class FakeLogs:
    """Takes everything, unless a test gives it an error; all records of a log stand in one partition."""

    def __init__(self) -> None:
        self.written: list[Write] = []
        self.checked: list[str] = []
        self.append_error: Exception | None = None
        self.check_error: Exception | None = None
        self.now_ms = 0
        self.change = threading.Condition()

    def append(self, writes: Sequence[Write], *, timeout: float) -> Sequence[Exception | None]:
        if self.append_error is None:
            with self.change:
                self.written += writes
                self.change.notify_all()
        return [self.append_error] * len(writes)

    def check(self, log: str, *, timeout: float) -> None:
        self.checked.append(log)
        if self.check_error is not None:
            raise self.check_error

    def read(self, log: str, *, route: bytes | None = None, timeout: float) -> Iterable[LogRecord]:
        return [
            StoredRecord(write.key, write.value, write.headers, self.now_ms)
            for write in self.written
            if write.log == log
        ]

    def follow(self, log: str) -> FakeFollower:
        return FakeFollower(self, log)


class FakeFollower:
    """A `taskq.timing.shards.Follower`."""

    def __init__(self, logs: FakeLogs, log: str) -> None:
        self._logs, self._log = logs, log
        self._position = 0
        self.is_caught_up = False

    def fetch(self, timeout: float) -> Sequence[LogRecord]:
        with self._logs.change:
            self._logs.change.wait_for(lambda: self._new() or not self.is_caught_up, timeout)
            found = self._new()
        self._position += len(found)
        self.is_caught_up = True
        return found

    def close(self) -> None:
        pass

    def _new(self) -> list[LogRecord]:
        return [*self._logs.read(self._log, timeout=0)][self._position :]
