"""What comes out of a run, or of what could not be run: plain data that can be marshalled, for the worker that acts on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskq.registry import AnyTask

SUCCEEDED, IGNORED, FAILED, RETRIED, REQUEUED, REVOKED = range(6)
"""How a run ended. Numbers, because an enum cannot be marshalled."""

Message = tuple[str, bytes, "list[tuple[str, bytes]]"]
"""A record to be written: queue, value, headers."""

Detail = tuple[str, str, str, "list[Message]"]
"""A dead letter's reason (empty: none is due), error, traceback, and what is to be sent afterwards.

Of what is REVOKED: no reason, and as the error how its run ended; empty if it had not begun.
"""

Return = tuple[int, str, str]
"""Of what is RETRIED or REQUEUED: when it is due, in milliseconds since 1970 (0: at once), error, traceback."""

Result = tuple[int, float, "str | None", "Detail | Return | None"]
"""How the run ended, its seconds, its log line (None: level too low), and what else there is; None for most."""

_RUN_FAILURES = frozenset({"failed", "retries_exhausted", "time_limit", "worker_died"})
"""Reasons that `@task(dead_letter=False)` turns off; other dead letters were never run, or were asked for."""


def wants_dead_letter(reason: str, found: AnyTask | None) -> bool:
    """Return whether a message goes to the dead letters for a reason; `found` is its task, if there is one."""
    return reason not in _RUN_FAILURES or found is None or found.dead_letter


def revoked(how: str = "", runtime: float = 0.0) -> Result:
    """Return the result of what was revoked: after a run that ended somehow, or before it had begun."""
    return REVOKED, runtime, None, ("", how, "", [])
