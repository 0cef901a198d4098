"""Logs in memory for unit tests: what was written is what is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taskq.protocols import HeaderList
from taskq.shards import LogRecord, Write


@dataclass
class StoredRecord:
    """A `taskq.shards.LogRecord`."""

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

    def append(self, writes: Sequence[Write], *, timeout: float) -> Sequence[Exception | None]:
        if self.append_error is None:
            self.written += writes
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
