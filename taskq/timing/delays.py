"""When a task is to run, and until when: from the options of a send to headers and a timer. Pure.

`countdown` and `eta` say the same in two ways, `expires` stands beside them. The instants stand on the message as Celery writes
them (ISO 8601), so that a task sees its own, and so that Celery's workers read them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, cast

from taskq.errors import InvalidArguments
from taskq.protocols import Outgoing
from taskq.timing.shards import Write
from taskq.timing.timers import due_ms, timer_write


@dataclass(frozen=True, slots=True)
class When:
    """When a task may run. Instants are aware, in UTC."""

    eta: datetime | None = None
    """Not before; None: at once."""

    expires: datetime | None = None
    """Not after; None: whenever."""

    @property
    def headers(self) -> dict[str, Any]:
        """What the message says of it."""
        found = {"eta": self.eta, "expires": self.expires}
        return {name: at.isoformat() for name, at in found.items() if at is not None}

    def outgoing(self, message: Outgoing, id: str, now: datetime) -> Outgoing | Write:
        """Return what is to be written for a message: itself, or a timer if its time has not come.

        Args:
            message: The task's record, with `headers` among its own.
            id: The task's id.
            now: The sender's clock.
        """
        if self.eta is None or self.eta <= now:
            return message
        return timer_write(message, task_id=id, due_ms=due_ms(self.eta))


AT_ONCE = When()


def when(
    task: str,
    now: datetime,
    *,
    countdown: float | None = None,
    eta: datetime | None = None,
    expires: float | datetime | None = None,
) -> When:
    """Return when a task is to run.

    Args:
        task: Its name, for errors.
        now: The sender's clock; `countdown` and a number of `expires` count from it.
        countdown: Seconds from now, 0 or more.
        eta: An aware instant; one that has passed means at once.
        expires: Seconds from now, or an aware instant.

    Raises:
        InvalidArguments: One of them cannot be, or both `countdown` and `eta` are given.
    """
    if countdown is not None and eta is not None:
        why = "countdown and eta say the same in two ways; give one of them"
        raise InvalidArguments(task, why, options=("countdown", "eta"))
    if countdown is not None:
        seconds = _seconds(task, "countdown", countdown)
        eta = _later(task, "countdown", now, seconds) if seconds else None
    elif eta is not None:
        eta = _instant(task, "eta", eta)
    if expires is None:
        return When(eta)
    if isinstance(cast(Any, expires), datetime):
        return When(eta, _instant(task, "expires", expires))
    return When(eta, _later(task, "expires", now, _seconds(task, "expires", expires)))


def _seconds(task: str, name: str, value: Any) -> float:
    wanted = "seconds" if name == "countdown" else "seconds, or a datetime with a time zone"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArguments(task, f"{name} must be {wanted}, not {value!r}", options=(name,))
    if not 0 <= value < math.inf:  # nor is NaN
        raise InvalidArguments(
            task, f"{name} must be 0 or more seconds, not {value!r}", options=(name,)
        )
    return value


def _later(task: str, name: str, now: datetime, seconds: float) -> datetime:
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError:
        raise InvalidArguments(
            task, f"{name} leads beyond the year 9999; it is in seconds", options=(name,)
        ) from None


def _instant(task: str, name: str, value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise InvalidArguments(
            task, f"{name} must be a datetime with a time zone, not {value!r}", options=(name,)
        )
    if value.utcoffset() is None:
        raise InvalidArguments(
            task,
            f"{name} {value.isoformat()} has no time zone, so it is no instant; use datetime.now(timezone.utc) + timedelta(...)",
            options=(name,),
        )
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise InvalidArguments(
            task,
            f"{name} {value.isoformat()} is beyond the years 1 to 9999 in UTC",
            options=(name,),
        ) from None
