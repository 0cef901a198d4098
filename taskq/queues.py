"""The rules for names of queues.

A queue's name is its topic's name behind the prefix, so Kafka's rules hold for it (letters, digits, `.`, `_`, `-`; 249 at
most), and what taskq derives from it (`QUEUE.dlq`, `QUEUE.p9`) and keeps for itself (`taskq.*`) is taken.
"""

from __future__ import annotations

import re

from taskq.errors import InvalidQueueName, InvalidSetting
from taskq_kafka.steps import queue_of_source

MAX_LENGTH = 240
"""Longest name with the prefix, in characters: Kafka's 249 less the longest ending that is derived, with room for a new one."""

_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]")
_DERIVED = re.compile(r"\.(dlq|p[0-9]+|pN)\Z")
_RESERVED = "taskq."

TIMERS = "taskq.timers"
"""The log of the timers, which has dead letters as a queue has."""


def check_queue(name: str, *, prefix: str = "") -> str:
    """Return the name if it is allowed.

    Raises:
        InvalidQueueName: It is not; the error says why.
    """
    if not isinstance(name, str):
        raise InvalidQueueName(name, "it must be text")
    why = _why_not(name, prefix)
    if why:
        raise InvalidQueueName(name, why)
    return name


def check_letters(name: str, *, prefix: str = "") -> str:
    """Return the name if it can have dead letters: a queue's, or that of the timers, whose own are what could not be sent.

    Raises:
        InvalidQueueName: It is neither.
    """
    return name if name == TIMERS else check_queue(name, prefix=prefix)


def check_source(name: str) -> str:
    """Return the name of a queue or of one of its priority steps if it is allowed.

    Raises:
        InvalidQueueName: It is not; the error says why.
    """
    check_queue(queue_of_source(name))
    return name


def check_prefix(prefix: str) -> str:
    """Return the prefix if names behind it can be names of topics.

    Raises:
        InvalidSetting: It has characters that no topic may have, or leaves no room for a name.
    """
    found = _FORBIDDEN.search(prefix)
    if found:
        raise InvalidSetting("prefix", prefix, _only_these(found.group()))
    if len(prefix) > MAX_LENGTH // 2:
        raise InvalidSetting("prefix", prefix, f"it may have {MAX_LENGTH // 2} characters at most")
    return prefix


def check_group(group: str) -> str:
    """Return the name of a consumer group if it is allowed: as a topic's, for it stands in names and metrics beside them.

    Raises:
        InvalidSetting: It is empty, too long, or has other characters.
    """
    if not group:
        raise InvalidSetting("group", group, "it is empty")
    found = _FORBIDDEN.search(group)
    if found:
        raise InvalidSetting("group", group, _only_these(found.group()))
    if len(group) > MAX_LENGTH // 2:
        raise InvalidSetting("group", group, f"it may have {MAX_LENGTH // 2} characters at most")
    return group


def _why_not(name: str, prefix: str) -> str | None:
    if not name:
        return "it is empty"
    found = _FORBIDDEN.search(name)
    if found:
        return _only_these(found.group())
    if len(prefix) + len(name) > MAX_LENGTH:
        return f"it may have {MAX_LENGTH} characters at most, with the prefix"
    if name in (".", "..") and not prefix:
        return "Kafka allows no such topic"
    derived = _DERIVED.search(name)
    if derived:
        return f"the ending {derived.group()} is taken by taskq's own topics"
    if name.startswith(_RESERVED):
        return f"names that begin with {_RESERVED} are taken by taskq's own topics"
    return None


def _only_these(character: str) -> str:
    return f"{character!r} is not allowed; use letters, digits, '.', '_' and '-'"
