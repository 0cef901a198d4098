from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from taskq.jsonlogs import JsonFormatter, instant


class Unshowable:
    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


def written(message: str = "a %s", *arguments: object, **more: object) -> dict[str, Any]:
    """Return what the line of a record says."""
    record = logging.LogRecord("taskq.x", logging.INFO, "f", 1, message, arguments, None)
    record.created = 1.5
    vars(record).update(more)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert line.isascii()
    found: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
    return found


def test_a_record_is_its_text_and_what_it_carries() -> None:
    assert written("a %s", "b", event="e", queue="q", offset=3) == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "INFO",
        "logger": "taskq.x",
        "event": "e",
        "message": "a b",
        "queue": "q",
        "offset": 3,
    }


def test_an_exception_is_a_field() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        said = written("x", exc_info=sys.exc_info())

    assert said["traceback"].startswith("Traceback")
    assert said["traceback"].endswith("ValueError: no")


def test_many_lines_are_one() -> None:
    assert written("a\nb\x1b[0m\u2028é")["message"] == "a\nb\x1b[0m\u2028é"


def test_what_a_record_carries_does_not_hide_its_text() -> None:
    assert written("x", level="y", time="z")["level"] == "INFO"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"x", "b'x'"),
        ({1}, "{1}"),
        (float("nan"), "nan"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (
            Unshowable(),
            "(Unshowable: its text cannot be shown: ValueError)",
        ),
    ],
)
def test_what_json_has_no_form_for_stands_as_its_text(value: object, shown: str) -> None:
    said = written("x", extra=value, other=[1])

    assert (said["extra"], said["other"]) == (shown, [1])


def test_an_instant_is_utc_to_the_millisecond() -> None:
    assert instant(1_764_000_000.9996) == "2025-11-24T16:00:00.999Z"
