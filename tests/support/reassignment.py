"""One request that confluent-kafka has no method for: give partitions their replicas in another order.

The first of a partition's replicas is its preferred leader; an election of the preferred leader then moves it, without a broker
that dies and without a byte that is copied. From the Kafka protocol guide: AlterPartitionReassignments (key 45, version 0), request
header v2, answer header v1. Any broker passes it on to the controller.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence

API_KEY, API_VERSION, CORRELATION_ID = 45, 0, 1
TIMEOUT = 10.0
"""Seconds for the answer; the controller takes milliseconds."""

NO_TAGS = b"\0"


class Refused(Exception):
    """The cluster did not take the new order."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the reassignment was refused with error {code}")
        self.code = code
        """Of Kafka's list of error codes."""


def reassign(broker: str, replicas: Mapping[tuple[str, int], Sequence[int]]) -> None:
    """Set the replicas of each topic and partition, in that order. Blocks until the controller has decided.

    Args:
        broker: One live broker, `HOST:PORT`.
        replicas: Node ids by topic and partition.

    Raises:
        Refused: The request as a whole was refused, or one of its partitions.
        OSError: The broker did not answer.
    """
    host, _, port = broker.rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT) as connection:
        request = _request(replicas)
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answers:
            (length,) = struct.unpack(">i", answers.read(4))
            answer = answers.read(length)
    for code in _error_codes(answer):
        if code:
            raise Refused(code)


def _request(replicas: Mapping[tuple[str, int], Sequence[int]]) -> bytes:
    client_id = b"tests"
    header = struct.pack(">hhih", API_KEY, API_VERSION, CORRELATION_ID, len(client_id))
    topics: dict[str, list[bytes]] = {}
    for (topic, number), nodes in replicas.items():
        order = _length(nodes) + b"".join(struct.pack(">i", node) for node in nodes)
        topics.setdefault(topic, []).append(struct.pack(">i", number) + order + NO_TAGS)
    body = struct.pack(">i", int(TIMEOUT * 1000)) + _length(topics)
    for topic, partitions in topics.items():
        name = topic.encode()
        body += _length(name) + name + _length(partitions) + b"".join(partitions) + NO_TAGS
    return header + client_id + NO_TAGS + body + NO_TAGS


def _error_codes(answer: bytes) -> list[int]:
    """Return the error codes of an answer: of the whole, then of each partition; 0 is none."""
    fields = _Fields(answer)
    fields.number(4)  # correlation id
    fields.skip_tags()
    fields.number(4)  # throttle time
    codes = [fields.number(2)]
    fields.skip_text()
    for _ in range(fields.length()):
        fields.skip_text()
        for _ in range(fields.length()):
            fields.number(4)
            codes.append(fields.number(2))
            fields.skip_text()
            fields.skip_tags()
        fields.skip_tags()
    return codes


class _Fields:
    """Reads an answer from its beginning on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def number(self, size: int) -> int:
        start, self._position = self._position, self._position + size
        return int.from_bytes(self._data[start : self._position], "big", signed=True)

    def length(self) -> int:
        """Read how long a compact text or array is, which is written as one more; 0 if it is null."""
        return max(0, self._varint() - 1)

    def skip_text(self) -> None:
        length = self.length()
        self._position += length

    def skip_tags(self) -> None:
        for _ in range(self._varint()):
            self._varint()
            size = self._varint()
            self._position += size

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._position]
            self._position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


def _length(of: Sequence[object] | Mapping[str, object]) -> bytes:
    """Return a compact text's or array's length as an unsigned varint: one more than it is."""
    value, text = len(of) + 1, bytearray()
    while value >= 0x80:
        text.append(value & 0x7F | 0x80)
        value >>= 7
    text.append(value)
    return bytes(text)
