"""The records of firings, with their partitions, and how many of them fit in one transaction. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from .shardset import Due
from .spread import Spread
from .topics import topic_of
from .transactions import Line

_BY_KEY = -1
"""In the place of a partition: the client takes that of the key."""

_OVERHEAD = 70
"""Bytes of a record beside its value, key and headers, at the most; a header has ten."""


@dataclass(frozen=True, slots=True)
class Written:
    """A firing and the records that it writes."""

    due: Due
    lines: list[Line]


class FiringLines:
    """Makes the records of firings. Of one host; its thread calls it."""

    def __init__(self, prefix: str, topic: str, letters: str, spread: Spread) -> None:
        """Prepare.

        Args:
            prefix: Of all topics.
            topic: The log's, with the prefix.
            letters: That of dead letters, with the prefix.
            spread: Whose turn it is.
        """
        self._prefix = prefix
        self._topic = topic
        self._letters = letters
        self._spread = spread

    def write(
        self, due: Iterable[Due], partitions: Callable[[str], int | None]
    ) -> Iterator[Written]:
        """Yield firings with their records.

        Args:
            due: The firings.
            partitions: Says how many a topic has; None: not known, then the client chooses. Asked once for each.
        """
        queues: dict[str, tuple[str, int | None]] = {}
        for each in due:
            firing = each.firing
            lines: list[Line] = []
            for message in firing.messages:
                known = queues.get(message.queue)
                if known is None:
                    topic = topic_of(self._prefix, message.queue)
                    known = queues[message.queue] = topic, partitions(topic)
                topic, count = known
                partition = (
                    self._spread.take(topic, count) if message.key is None and count else _BY_KEY
                )
                lines.append((topic, partition, message.key, message.value, list(message.headers)))
            for key, value in firing.writes:
                lines.append((self._topic, each.owner.partition, key, value, []))
            for letter in firing.letters:
                lines.append(
                    (self._letters, _BY_KEY, letter.key, letter.value, list(letter.headers))
                )
            yield Written(each, lines)


@dataclass(slots=True)
class _Room:
    """How many bytes a transaction writes, at the most."""

    in_all: int = 0
    keyed: dict[str, int] = field(default_factory=dict)
    """Of records whose partition is not known: they count as if all went to the fullest one."""

    placed: dict[tuple[str, int], int] = field(default_factory=dict)
    fullest: dict[str, int] = field(default_factory=dict)

    def add(self, lines: Iterable[Line]) -> int:
        """Count records of a firing; return the most that any partition of theirs may get."""
        most = 0
        keyed, placed, fullest = self.keyed, self.placed, self.fullest
        for topic, partition, key, value, headers in lines:
            size = len(value or b"") + len(key or b"") + _OVERHEAD
            for name, content in headers:
                size += len(name) + len(content or b"") + 10
            self.in_all += size
            if partition == _BY_KEY:
                keyed[topic] = keyed.get(topic, 0) + size
            else:
                place = topic, partition
                placed[place] = size = placed.get(place, 0) + size
                if size > fullest.get(topic, 0):
                    fullest[topic] = size
            most = max(most, fullest.get(topic, 0) + keyed.get(topic, 0))
        return most


def batches(
    written: Iterable[Written], most_bytes: int, most_in_all: int
) -> Iterator[list[Written]]:
    """Yield firings in parts that fit one transaction each; a firing that is larger goes alone.

    Args:
        written: The firings, with their records.
        most_bytes: For any one partition.
        most_in_all: For all of them.
    """
    batch: list[Written] = []
    room = _Room()
    for each in written:
        most = room.add(each.lines)
        if (most > most_bytes or room.in_all > most_in_all) and batch:
            yield batch
            batch, room = [], _Room()
            room.add(each.lines)
        batch.append(each)
    if batch:
        yield batch
