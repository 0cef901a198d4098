"""Dead letters: a record that was put aside, as it stands in its queue's dead-letter topic.

Key QUEUE/PARTITION/OFFSET of the source record, so that a letter written twice is one; value and headers byte for byte, and more
headers, all beginning with `dlq-`, that say why. A tombstone takes a letter out. Pure: writing is in publisher.py, reading in
reader.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from .records import HeaderList, headers_of
from .steps import queue_of_source
from .topics import DLQ_HEADROOM

HEADER_PREFIX: Final = "dlq-"
NULL_VALUE: Final = "dlq-null-value"
"""Says that the source record had no value: the letter has an empty one, as one without value would be a tombstone."""

SOURCE_KEY: Final = "dlq-source-key"
"""The source record's key, as the letter has its own."""

HEADERS_MAX_BYTES: Final = DLQ_HEADROOM - 4096
"""All that may be added to a record. The rest of the headroom is for the key and the batch around the letter."""


class SourceRecord(Protocol):
    """The record that is put aside."""

    @property
    def queue(self) -> str:
        """The queue's name, without prefix."""

    @property
    def partition(self) -> int:
        """Where it stands in the queue."""

    @property
    def offset(self) -> int:
        """Where it stands in the partition."""

    @property
    def key(self) -> bytes | None:
        """Kafka's key."""

    @property
    def value(self) -> bytes | None:
        """Kafka's value."""

    @property
    def headers(self) -> HeaderList:
        """Headers, as bytes."""


class DeadLetter(Protocol):
    """What is to be written."""

    @property
    def record(self) -> SourceRecord:
        """The record that is put aside."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The `dlq-*` headers that say why."""


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter as it stands in its topic."""

    id: str
    """QUEUE/PARTITION/OFFSET of its source record."""

    queue: str
    value: bytes | None
    headers: HeaderList = field(default_factory=tuple)
    """The source record's own headers and the `dlq-*` ones."""

    timestamp_ms: int = -1

    partition: int = -1
    """Where it stands in its topic: its tombstone goes there, also if the topic has more partitions by then."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter on its way: one record for a queue's dead-letter topic."""

    queue: str
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes | None]]


def letter_of(dead: DeadLetter) -> Letter:
    """Return the record to write. Headers to be added whose name does not begin with `dlq-` are left out."""
    record = dead.record
    added = [(name, value) for name, value in dead.headers if name.startswith(HEADER_PREFIX)]
    names = {name for name, _ in added}
    added = fitting(added, HEADERS_MAX_BYTES)
    if record.key is not None and SOURCE_KEY not in names:
        added.append((SOURCE_KEY, record.key))
    if record.value is None and NULL_VALUE not in names:
        added.append((NULL_VALUE, b"true"))
    return Letter(
        queue=queue_of_source(record.queue),
        key=f"{record.queue}/{record.partition}/{record.offset}".encode(),
        value=b"" if record.value is None else record.value,
        headers=[*(record.headers or ()), *added],
    )


def fitting(headers: Sequence[tuple[str, bytes]], limit: int) -> list[tuple[str, bytes]]:
    """Return headers that take at most so many bytes: the longest values lose their middle."""
    fitted = list(headers)
    while True:
        sizes = [len(name.encode()) + len(value) + 10 for name, value in fitted]
        excess = sum(sizes) - limit
        if excess <= 0 or not fitted:
            return fitted
        largest = max(range(len(fitted)), key=sizes.__getitem__)
        name, value = fitted[largest]
        if len(value) < 64:
            return fitted[: limit // max(sizes)]
        keep = max(len(value) - excess - 16, len(value) // 2) // 2
        fitted[largest] = (name, _without_middle(value, keep))


def _without_middle(value: bytes, keep: int) -> bytes:
    """Return the first and last `keep` bytes; UTF-8 stays UTF-8."""
    head = value[:keep].decode(errors="ignore").encode()
    tail = value[-keep:].decode(errors="ignore").encode()
    return head + b" ... " + tail


def newest_letters(queue: str, messages: Iterable[Any]) -> list[StoredDeadLetter]:
    """Return the letters that stand in a topic, oldest first: of each key the newest, unless that is a tombstone.

    Args:
        queue: The queue whose letters they are.
        messages: confluent_kafka's messages, in order within a partition. A key is always in the same one.
    """
    newest: dict[str, StoredDeadLetter | None] = {}
    for message in messages:
        # As a tombstone needs the very same bytes, also of a key that is no text.
        key = (message.key() or b"").decode(errors="surrogateescape")
        value = message.value()
        newest.pop(key, None)
        newest[key] = None if value is None else _stored(queue, key, value, message)
    letters = [letter for letter in newest.values() if letter is not None]
    return sorted(letters, key=lambda letter: (letter.timestamp_ms, letter.id))


def _stored(queue: str, key: str, value: bytes, message: Any) -> StoredDeadLetter:
    """Return one message as a letter."""
    headers = tuple(headers_of(message))
    was_null = any(name == NULL_VALUE for name, _ in headers)
    return StoredDeadLetter(
        id=key,
        queue=queue,
        value=None if was_null and not value else value,
        headers=headers,
        timestamp_ms=message.timestamp()[1],
        partition=message.partition(),
    )
