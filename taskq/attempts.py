"""The failed attempts of a task, as they stand in a header of its record. Pure.

Format 1: a JSON object with `format`, `first` (when the first attempt failed) and `last` (of the last attempts `at`, `error` and
`worker`, the latest last). It is there to be read by people, and has to stay small, because it travels with the task: the longest
texts are cut first. What cannot be read counts as nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

HEADER = "taskq-attempts"

FORMAT = 1

MOST = 20
"""Attempts that are kept: of more the last ones."""

MOST_BYTES = 4096

_LONGEST_ERROR = 600  # characters, before more is cut to stay within the bytes
_LONGEST_WORKER = 100
_LONGEST_INSTANT = 40


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run that failed."""

    at: str
    """When, ISO 8601 in UTC."""

    error: str
    """One line."""

    worker: str


@dataclass(frozen=True, slots=True)
class Attempts:
    """What is known of the runs of a task that failed before."""

    first: str
    """When the first one failed; empty where there was none."""

    last: Sequence[Attempt]
    """The latest last; not more than `MOST`."""

    def with_one(self, attempt: Attempt) -> Attempts:
        """Return these and one more."""
        return self.with_all((attempt,))

    def with_all(self, attempts: Sequence[Attempt]) -> Attempts:
        """Return these and later ones."""
        last = (*self.last, *attempts)
        return Attempts(self.first or (last[0].at if last else ""), last[-MOST:])


NONE = Attempts("", ())


def instant_text(moment: datetime) -> str:
    """Return an instant that was recorded as outputs have it, and attempts and dead letters: to the millisecond, in UTC."""
    text = moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def read_attempts(text: object) -> Attempts:
    """Return what a header says; `NONE` where it says nothing that can be read."""
    try:
        fields = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return NONE
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        return NONE
    last = fields.get("last")
    read = [_attempt(each) for each in last] if isinstance(last, list) else []
    return Attempts(_text(fields.get("first")), tuple(each for each in read if each)[-MOST:])


def write_attempts(attempts: Attempts) -> bytes:
    """Return the header's value, `MOST_BYTES` at most: the longest texts are cut first, and nonsense costs the oldest attempts."""
    longest, last = _LONGEST_ERROR, tuple(attempts.last)
    while True:
        value = _written(attempts.first, last, longest)
        if len(value) <= MOST_BYTES or not last:
            return value
        if longest:
            longest = longest * 3 // 4
        else:
            last = last[1:]


def _written(first: str, last: Sequence[Attempt], longest: int) -> bytes:
    worker = min(longest, _LONGEST_WORKER)
    fields = {
        "format": FORMAT,
        "first": first[:_LONGEST_INSTANT],
        "last": [
            {
                "at": each.at[:_LONGEST_INSTANT],
                "error": each.error[:longest],
                "worker": each.worker[:worker],
            }
            for each in last
        ],
    }
    # Readable in any tool; half a character is an escape, as JSON has it.
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")


def _attempt(fields: Any) -> Attempt | None:
    if not isinstance(fields, dict):
        return None
    return Attempt(*(_text(fields.get(name)) for name in ("at", "error", "worker")))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
