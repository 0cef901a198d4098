"""Lines out of the bytes that a process prints, as they come. Pure."""

from __future__ import annotations

from collections.abc import Iterator

LONGEST = 65536
"""Bytes after which a line is broken: a process that prints no line's end must not fill the memory."""


class LineBuffer:
    """Keeps the beginning of a line until its end has come. One thread."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that are whole now, without their ends."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r")
        if len(self._rest) >= LONGEST:
            yield from self.flush()

    def flush(self) -> Iterator[bytes]:
        """Yield what has no end yet, if there is anything."""
        rest, self._rest = self._rest, b""
        if rest:
            yield rest
