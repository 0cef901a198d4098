"""Log records as one JSON object a line (`--log-format json`). Pure.

`time` (RFC 3339, UTC), `level`, `logger` and `message` stand in each, then what the record carries besides: `event`
(taskq/events.py), and for a line about a task `task`, `id`, `queue`, `partition`, `offset`. An exception is the field `traceback`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message", "source", "taskName"}
"""Attributes that every record has; what else is there came by `extra`."""

_NOT_JSON = (TypeError, ValueError, RecursionError)


class JsonFormatter(logging.Formatter):
    """Makes the line of a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        more = {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            more["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            more["stack"] = self.formatStack(record.stack_info)
        return json_line(
            instant(record.created), record.levelname, record.name, record.getMessage(), more
        )


def json_line(at: str, level: str, logger: str, message: str, more: Mapping[str, Any]) -> str:
    """Return one line; what `more` holds under the name of another argument is left out.

    Args:
        at: The instant, as `instant` writes it.
        level: Its name.
        logger: Its name.
        message: The sentence.
        more: Further fields. What JSON has no form for stands as its text.
    """
    fields: dict[str, Any] = {"time": at, "level": level, "logger": logger}
    if "event" in more:
        fields["event"] = more["event"]
    fields["message"] = message
    for name, value in more.items():
        fields.setdefault(name, value)
    try:
        return _dumped(fields)
    except _NOT_JSON:
        return _dumped({str(name): _plain(value) for name, value in fields.items()})


def instant(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 writes them, in UTC, with milliseconds."""
    second = int(seconds)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    return f"{whole}.{int((seconds - second) * 1000):03d}Z"


# ASCII: no terminal and no encoding of stderr can spoil it. NaN would be no JSON. Made once: json.dumps makes one for each call.
_dumped = json.JSONEncoder(default=str, allow_nan=False).encode


def _plain(value: Any) -> Any:
    """Return a value that JSON has a form for, at whatever price."""
    try:
        _dumped({"": value})
    except Exception:  # noqa: BLE001 - its own __str__ raised
        try:
            return str(value)
        except Exception as failure:  # noqa: BLE001 - see above
            return f"({type(value).__name__}: its text cannot be shown: {type(failure).__name__})"
    return value
