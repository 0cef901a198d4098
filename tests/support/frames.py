"""What the proxy reads of Kafka's protocol: frames and the headers of requests, nothing of what is in them.

From the Kafka protocol guide: a frame is four bytes of length and the rest; "Request Header" v1 and v2 begin alike.
"""

from __future__ import annotations

import asyncio
import enum
import struct
from dataclasses import dataclass

LENGTH = struct.Struct(">i")
REQUEST_HEADER = struct.Struct(">hhih")
CORRELATION = struct.Struct(">i")


class ApiKey(enum.IntEnum):
    """The requests that tests care about (Kafka protocol guide, "API Keys"); others are plain numbers."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    CONSUMER_GROUP_HEARTBEAT = 68
    CONSUMER_GROUP_DESCRIBE = 69


@dataclass(frozen=True)
class Request:
    """A request's header."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str


def read_request(frame: bytes) -> Request:
    """Read the header of a request's frame (without its length)."""
    api_key, api_version, correlation_id, length = REQUEST_HEADER.unpack_from(frame)
    start = REQUEST_HEADER.size
    client_id = frame[start : start + max(length, 0)].decode(errors="replace")
    return Request(api_key, api_version, correlation_id, client_id)


def read_correlation_id(frame: bytes) -> int:
    """Read from an answer's frame which request it answers."""
    number: int = CORRELATION.unpack_from(frame)[0]
    return number


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Read one request or answer, without its length.

    Raises:
        asyncio.IncompleteReadError: The connection ended (also an EOFError).
    """
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return await reader.readexactly(length)


async def write_frame(writer: asyncio.StreamWriter, frame: bytes) -> None:
    """Write one request or answer with its length before it."""
    writer.write(LENGTH.pack(len(frame)) + frame)
    await writer.drain()
