"""What a prefork child and its parent say to each other, as bytes. Pure.

A frame is four bytes of length and a marshalled object. Marshal, because both ends are the same interpreter of the same
installation, it is the fastest codec there is for tuples of plain values, and unlike pickle it cannot run code. It promises
nothing between versions of Python, which is why nothing that leaves the machine is written with it.

To the child: a list of `Task`s, or an empty list: finish and end. From the child: a list of `Done`s, or a `Hello`: once at its
start, and once when it is to be replaced.
"""

from __future__ import annotations

import marshal
from typing import Any

from taskq.running.runresult import Result

Task = tuple[
    int,
    str,
    int,
    int,
    int,
    "bytes | None",
    "list[tuple[str, bytes | None]]",
    "bytes | None",
    bool,
    int,
    bool,
]
"""seq, queue, partition, offset, timestamp_ms, key, headers, value, redelivered, deliveries, and whether it is short."""

Done = tuple[int, Result]
"""seq, result."""

Hello = tuple[str, str]
"""`ready`, `failed` or `retiring`; why it failed or retires."""

_LENGTH_BYTES = 4


def frame(message: Any) -> bytes:
    """Return a message as one frame."""
    body = marshal.dumps(message)
    return len(body).to_bytes(_LENGTH_BYTES, "little") + body


class FrameReader:
    """Cuts a stream of bytes into messages. One thread uses it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> list[Any]:
        """Add what was read, which is copied, and return the messages that are complete."""
        buffer = self._buffer
        buffer += data
        messages: list[Any] = []
        start = 0
        while len(buffer) - start >= _LENGTH_BYTES:
            body = start + _LENGTH_BYTES
            stop = body + int.from_bytes(buffer[start:body], "little")
            if len(buffer) < stop:
                break
            messages.append(marshal.loads(memoryview(buffer)[body:stop]))
            start = stop
        if start:
            del buffer[:start]
        return messages
