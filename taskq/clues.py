"""What a task's id tells about where its record stands: a place, or a time. Pure.

Our own ids are UUIDv7 (RFC 9562, 5.7), which begin with the time they were made at; the ids of schedules'
occurrences end with theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from taskq.instants import read_instant
from taskq.message import identify
from taskq.protocols import Record

MARGIN_MS = 60_000
"""How far an id's time and its record's may lie apart, in milliseconds: two clocks, or a send that took long."""

_UUID7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_OCCURRENCE = re.compile(r".+/.+@([^@]+?)(?:\+trigger-[0-9a-f]+)?")
_PLACE = re.compile(r"([^/]+)/([0-9]{1,10})/([0-9]{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Clue:
    """Where to look for a task."""

    place: tuple[str, int, int] | None = None
    """Queue, partition and offset, where the id names them."""

    made_ms: int | None = None
    """When the id was made, in milliseconds since 1970, where it says so."""


def read_clue(id: str) -> Clue:
    """Return what an id tells; an empty clue for one that is somebody's own."""
    place = _PLACE.fullmatch(id)
    if place is not None:
        return Clue(place=(place[1], int(place[2]), int(place[3])))
    uuid = _UUID7.fullmatch(id.lower())
    if uuid is not None:
        return Clue(made_ms=int(uuid[1] + uuid[2], 16))
    occurrence = _OCCURRENCE.fullmatch(id)
    if occurrence is not None:
        try:
            return Clue(made_ms=int(read_instant(occurrence[1]).timestamp() * 1000))
        except ValueError:
            return Clue()
    return Clue()


def recognizer(id: str) -> Callable[[Record], bool]:
    """Return what tells the record with an id from others: by its header, or by the JSON of one without headers."""
    wanted = id.encode()

    def matches(record: Record) -> bool:
        has_names = False
        for name, value in record.headers:
            if name == "id":
                return value == wanted
            has_names |= name == "task"
        if has_names or not record.value or (wanted not in record.value and id.isascii()):
            return False
        found = identify(record)
        return found is not None and found.id == id

    return matches
