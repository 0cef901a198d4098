"""Errors as logs and dead letters show them: one line, and a traceback from the user's function on."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

from taskq.printing import escaped

TRACEBACK_BYTES = 16 * 1024
"""Of a dead letter's traceback; the end of a longer one is kept, where the error stands."""

ERROR_CHARACTERS = 2000
"""Of an error's text in dead letter and log. Some libraries put a whole response into it."""

_OWN_MODULES = (
    "taskq.running.executor",
    "taskq.running.calling",
    "taskq.running.threadloops",
    "taskq.task",
    "taskq.running.asynclimits",
    "asyncio.base_events",
)
"""Between a worker's loop and the user's function; those that are loaded."""


def one_line(text: str) -> str:
    """Return a text on one line, not too long; what a terminal would not print but obey, or UTF-8 cannot write, is escaped."""
    line = " ".join(text.split())[:ERROR_CHARACTERS]
    return line if line.isprintable() else escaped(line)


def error_text(error: BaseException) -> str:
    """Return `TYPE: TEXT` of an error, on one line; also of one that cannot be shown."""
    name = type(error).__name__
    try:
        text = one_line(str(error))
    except Exception as failure:  # noqa: BLE001 - the error's own __str__ raised
        text = f"(its text cannot be shown: {type(failure).__name__})"
    return f"{name}: {text}" if text else name


def traceback_text(error: BaseException) -> str:
    """Return an error's traceback from the user's function on, the last 16 KiB of it."""
    try:
        lines = traceback.format_exception(type(error), error, _users_part(error.__traceback__))
    except Exception:  # noqa: BLE001 - an error in the chain cannot be shown
        return error_text(error)
    data = "".join(lines).encode(errors="backslashreplace")
    return data[-TRACEBACK_BYTES:].decode(errors="ignore")


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """Skip the frames before the user's function; keep all if there are no others."""
    loaded = map(sys.modules.get, _OWN_MODULES)
    own = {module.__file__ for module in loaded if module is not None}
    part = trace
    while part is not None and part.tb_frame.f_code.co_filename in own:
        part = part.tb_next
    return part or trace
