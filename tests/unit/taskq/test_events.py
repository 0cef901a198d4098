from __future__ import annotations

import re
from pathlib import Path

import taskq
from taskq.events import EVENTS
from taskq.logs import TASK_EVENTS

_LOGGED = re.compile(r'"event": "([^"]+)"')


def logged() -> set[str]:
    """Return the names of all events that taskq's code logs."""
    files = Path(taskq.__file__).parent.rglob("*.py")
    names = {name for file in files for name in _LOGGED.findall(file.read_text(encoding="utf-8"))}
    return names | set(TASK_EVENTS)


def test_every_event_that_is_logged_has_a_meaning() -> None:
    assert logged() <= set(EVENTS)


def test_every_meaning_belongs_to_an_event_that_is_logged() -> None:
    assert set(EVENTS) <= logged()


def test_events_are_sorted() -> None:
    assert list(EVENTS) == sorted(EVENTS)
