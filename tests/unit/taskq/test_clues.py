"""What an id tells, and which record it is."""

from __future__ import annotations

import pytest

from taskq.clues import Clue, read_clue, recognizer
from taskq.message import new_task_id
from taskq.protocols import HeaderList
from taskq_kafka.records import LOST_HEADERS, Record


@pytest.mark.parametrize(
    ("id", "clue"),
    [
        ("01a21661-cbad-7995-9933-f122eb8e9b78", Clue(made_ms=0x01A21661CBAD)),
        ("01A21661-CBAD-7995-9933-F122EB8E9B78", Clue(made_ms=0x01A21661CBAD)),
        ("jobs/1@2026-11-23T17:00:00Z", Clue(made_ms=1_795_453_200_000)),
        ("billing/3/17", Clue(place=("billing", 3, 17))),
        ("jobs/1@soon", Clue()),
        ("b3f1c2d4-cbad-4995-9933-f122eb8e9b78", Clue()),  # version 4 tells no time
        ("billing/3", Clue()),
        ("mine", Clue()),
    ],
)
def test_an_id_tells_a_place_a_time_or_nothing(id: str, clue: Clue) -> None:
    assert read_clue(id) == clue


def test_our_own_new_id_tells_its_time() -> None:
    assert read_clue(new_task_id()).made_ms is not None


@pytest.mark.parametrize(
    ("headers", "value", "is_it"),
    [
        ([("task", b"t"), ("id", b"mine")], b"[]", True),
        ([("task", b"t"), ("id", b"other")], b'{"task": "t", "id": "mine"}', False),
        ([("task", b"t")], b'{"task": "t", "id": "mine"}', False),
        ([], b'{"task": "t", "id": "mine"}', True),
        ([("trace", b"1")], b'{"task": "t", "id": "mine"}', True),
        ([], b'{"task": "t", "args": ["mine"]}', False),
        ([], b"mine, but no JSON", False),
        ([], None, False),
        (LOST_HEADERS, b"mine", False),
    ],
)
def test_a_record_is_recognized_by_its_id(
    headers: HeaderList, value: bytes | None, is_it: bool
) -> None:
    record = Record("q", 0, 0, 0, None, value, headers)

    assert recognizer("mine")(record) is is_it
