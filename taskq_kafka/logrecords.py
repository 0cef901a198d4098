"""A record of a log, as it was read. Pure data."""

from __future__ import annotations

from typing import Any

from .records import HeaderList, headers_of


class LogRecord:
    """One record of a log. A plain class with slots: a million of them are read at a take-over."""

    __slots__ = ("headers", "key", "offset", "partition", "timestamp_ms", "value")

    def __init__(self, message: Any) -> None:
        """Take a message of the client, which is no error."""
        self.partition: int = message.partition()
        self.offset: int = message.offset()
        self.timestamp_ms: int = message.timestamp()[1]
        self.key: bytes = message.key() or b""
        self.value: bytes | None = message.value()
        self.headers: HeaderList = headers_of(message)
