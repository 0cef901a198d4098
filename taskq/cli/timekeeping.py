"""What commands say of tasks whose time has come, and of who is there to send them: those that keep the time, and beats."""

from __future__ import annotations

from contextlib import suppress

from taskq.app import App
from taskq.clock import SystemClock
from taskq.doctor.timers import OVERDUE_SECONDS
from taskq.scheduling.schedulelog import GROUP as BEATS
from taskq.timing.timers import GROUP

START_ONE = "no worker or beat keeps the time: start one"


def overdue_seconds(due_ms: int) -> float | None:
    """Return for how many seconds a timer is overdue; None for one that is not due, or is just being fired."""
    late = SystemClock().time() - due_ms / 1000
    return round(late, 3) if late > OVERDUE_SECONDS else None


def is_time_kept(app: App) -> bool:
    """Return whether a process is there to send what is due; where that cannot be told, it is. Asks the broker."""
    with suppress(PermissionError):
        return _has_members(app, GROUP) is not False
    return True


def has_beat(app: App, namespace: str) -> bool | None:
    """Return whether a beat of a namespace runs; None where the broker cannot tell. Asks it.

    Raises:
        PermissionError: We may not know.
    """
    return _has_members(app, f"{BEATS}{namespace}")


def _has_members(app: App, group: str) -> bool | None:
    found = app.broker.admin.group(group, timeout=app.settings.connect_timeout)
    return bool(found.members) if found.is_told else None
