"""Values of a schedule entry's keys: what each may be, and what it becomes.

Pure. Which keys there are and how they hang together is in `taskq.scheduling.schedule`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Any

from taskq.errors import InvalidQueueName
from taskq.instants import read_instant
from taskq.near import nearest
from taskq.queues import check_queue
from taskq_kafka.steps import HIGHEST, LOWEST

DAY = 86_400.0

LONGEST_ID = 400
"""Characters; ids stand in task ids, which are Kafka headers and keys of the schedules' topic."""

_LONGEST = 100 * 366 * DAY
"""Seconds; more than this is a mistake of units, and would leave the calendar."""

_OWN_HEADERS = frozenset(
    (
        "argsrepr",
        "chord",
        "content-encoding",
        "content-type",
        "correlation_id",
        "errbacks",
        "eta",
        "expires",
        "group",
        "group_index",
        "id",
        "ignore_result",
        "kombu-json",
        "kwargsrepr",
        "lang",
        "origin",
        "parent_id",
        "replaced_task_nesting",
        "retries",
        "root_id",
        "scheduled_for",
        "shadow",
        "stamped_headers",
        "stamps",
        "task",
        "timelimit",
    )
)
"""Headers that rule how a message is read and run: they follow from the entry and cannot be given."""


class CatchUp(Enum):
    """What is sent of the occurrences that were missed while no beat ran."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


class WrongValue(Exception):
    """Why a value cannot be taken."""

    def __init__(self, reason: str, near: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.near = near


def json_type(value: object) -> str:
    """Return what a decoded value is called in JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def shown(value: object) -> str:
    """Return a value as a message may show it: short texts and numbers as they are, the others by their type."""
    if isinstance(value, str) and len(value) <= 80:
        return repr(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "a number" if abs(value) >= 1e15 else repr(value)
    return json_type(value)


def read_text(value: object) -> str:
    """Return a value that is text and can be encoded.

    Raises:
        WrongValue: It is not.
    """
    if not isinstance(value, str):
        raise WrongValue(f"must be text, and is {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise WrongValue("holds half a surrogate pair, which is no character") from None
    return value


def _some_text(value: object) -> str:
    text = read_text(value)
    if not text.strip():
        raise WrongValue("must not be empty")
    if not text.isprintable():
        raise WrongValue("holds a character that cannot be printed")
    return text


def _id(value: object) -> str:
    text = _some_text(value)
    found = re.search(r"[#/]", text)
    if found:
        raise WrongValue(
            f"must not hold {found.group()!r}, which separates the parts of its record's key"
        )
    if text != text.strip() or len(text) > LONGEST_ID:
        raise WrongValue(f"must have 1 to {LONGEST_ID} characters, no blanks at its ends")
    return text


def _queue(value: object) -> str:
    try:
        return check_queue(read_text(value))
    except InvalidQueueName as error:
        raise WrongValue(f"invalid queue name {shown(value)}: {error.why}") from None


def _priority(value: object) -> int:
    if type(value) is not int or not LOWEST <= value <= HIGHEST:
        raise WrongValue(
            f"must be a whole number from {LOWEST} to {HIGHEST}, and is {shown(value)}"
        )
    return value


def _list(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise WrongValue(f"must be a list, and is {shown(value)}")
    return tuple(value)


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise WrongValue(f"must be an object, and is {shown(value)}")
    return value


def _headers(value: object) -> Mapping[str, Any]:
    headers = _object(value)
    for name, content in headers.items():
        _some_text(name)
        if name in _OWN_HEADERS or name.startswith(("kombu-", "dlq-")):
            raise WrongValue(f"the header {name!r} is taken by the message itself")
        if isinstance(content, str):
            read_text(content)
    return headers


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongValue(f"must be true or false, and is {shown(value)}")
    return value


def _seconds(*, zero: bool) -> Callable[[object], float]:
    wanted = "0 or more" if zero else "above 0"

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise WrongValue(f"must be a number of seconds, {wanted}, and is {shown(value)}")
        if not 0 <= value <= _LONGEST or (value == 0 and not zero) or math.isnan(value):
            raise WrongValue(
                f"must be a number of seconds, {wanted} and at most a hundred years, and is {shown(value)}"
            )
        return float(value)

    return parse


def _instant(value: object) -> datetime:
    text = read_text(value)
    try:
        return read_instant(text)
    except ValueError as error:
        raise WrongValue(f"{shown(text)} {error}") from None


def _catch_up(value: object) -> CatchUp:
    choices = [choice.value for choice in CatchUp]
    if value not in choices:
        near = nearest(value, choices) if isinstance(value, str) else None
        raise WrongValue(f"must be one of {', '.join(choices)}, and is {shown(value)}", near)
    return CatchUp(value)


PARSERS: Mapping[str, Callable[[object], Any]] = MappingProxyType(
    {
        "id": _id,
        "task": _some_text,
        "args": _list,
        "kwargs": _object,
        "queue": _queue,
        "key": _some_text,
        "priority": _priority,
        "expires": _seconds(zero=False),
        "headers": _headers,
        "enabled": _switch,
        "start": _instant,
        "end": _instant,
        "jitter": _seconds(zero=True),
        "catch_up": _catch_up,
        "catch_up_window": _seconds(zero=True),
        "description": read_text,
    }
)
"""For each key with a value of its own what reads it; raises `WrongValue`. `cron`, `dialect` and `timezone` hang together."""
