"""A record of a log that no broker has seen."""

from __future__ import annotations

from dataclasses import dataclass

from taskq.protocols import HeaderList
from taskq.timing.shards import Write


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A `taskq.timing.shards.LogRecord`."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes | None
    headers: HeaderList


def stored(write: Write, *, partition: int = 3, offset: int = 7, now_ms: int = 0) -> StoredRecord:
    """Return what was written, as it comes back from the log."""
    return StoredRecord(partition, offset, now_ms, write.key, write.value, tuple(write.headers))
