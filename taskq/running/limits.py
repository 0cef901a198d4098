"""How long a run may take and how often a task may start: what users and messages say, checked. Pure.

Who keeps to it: pools (`time_limit`), alarms.py and asynclimits.py (`soft_time_limit`), worker/rates.py (`rate_limit`).
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from taskq.errors import InvalidArguments

LONGEST = 366 * 86400.0
"""Seconds that a limit may have: more are a mistake of units, and timers of the system have an end, too."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
"""Seconds by the letter of a rate."""

_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*([A-Za-z]+)\s*)?")
_MOST_A_SECOND = 1e6

Rate = str | int | float
"""How users write a rate: `"10/s"`, `"100/m"`, `"5/h"`, or a number a second."""


class TimeLimits(NamedTuple):
    """Seconds from the start of the function."""

    hard: float | None
    """The run is ended from outside; None: never."""

    soft: float | None
    """`SoftTimeLimitExceeded` is raised in the function; None: never."""


def check_time_limits(
    task: str, time_limit: float | None, soft_time_limit: float | None
) -> TimeLimits | None:
    """Return the limits of a task's options; None where there are none.

    Raises:
        InvalidArguments: A limit is no number of seconds above 0, or the soft one is not below the hard one.
    """
    for name, value in (("time_limit", time_limit), ("soft_time_limit", soft_time_limit)):
        if value is not None and not is_limit(value):
            raise InvalidArguments(
                task, f"{name} must be seconds above 0, at most {LONGEST:g}, not {value!r}"
            )
    if time_limit is None and soft_time_limit is None:
        return None
    if time_limit is not None and soft_time_limit is not None and soft_time_limit >= time_limit:
        raise InvalidArguments(
            task,
            f"soft_time_limit ({soft_time_limit:g} s) must be below time_limit ({time_limit:g} s), which ends the run",
        )
    return TimeLimits(time_limit, soft_time_limit)


def is_limit(value: object) -> bool:
    """Return whether a value is a number of seconds that a limit can have."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 < value <= LONGEST
        and math.isfinite(value)
    )


def is_header(value: object) -> bool:
    """Return whether a message's header `timelimit` is Celery's `[hard, soft]`; a part may be null, or 0 for the same."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(part is None or is_limit(part) or part == 0 for part in value)
    )


def limits_of(own: TimeLimits | None, header: object) -> TimeLimits | None:
    """Return the limits of one message; None where there are none.

    Args:
        own: Its task's.
        header: The message's `timelimit`, which `is_header` found good, or None; each part of it stands before the task's.
    """
    if not isinstance(header, (list, tuple)):
        return own
    hard, soft = (part or None for part in header)
    if own is not None:
        hard, soft = hard or own.hard, soft or own.soft
    return TimeLimits(hard, soft) if hard or soft else None


def check_rate_limit(task: str, rate: Rate | None) -> float | None:
    """Return a rate in starts a second; None where there is none.

    Raises:
        InvalidArguments: It is no rate.
    """
    if rate is None:
        return None
    number, unit = _parts(task, rate)
    seconds = _UNITS.get(unit)
    if seconds is None:
        near = (
            f"; did you mean '{number:g}/{unit[0].lower()}'?" if unit[0].lower() in _UNITS else ""
        )
        raise _no_rate(task, rate, f"{near}")
    a_second = number / seconds
    if not 0 < a_second <= _MOST_A_SECOND:
        raise _no_rate(task, rate, "; without a limit leave it out" if not a_second else "")
    return a_second


def _parts(task: str, rate: object) -> tuple[float, str]:
    if isinstance(rate, str):
        found = _RATE.fullmatch(rate)
        if found is None:
            raise _no_rate(task, rate)
        return float(found[1]), found[2] or "s"
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not math.isfinite(rate):
        raise _no_rate(task, rate)
    return float(rate), "s"


def _no_rate(task: str, rate: object, more: str = "") -> InvalidArguments:
    return InvalidArguments(
        task,
        "rate_limit must be '10/s', '100/m', '5/h' or a number a second, above 0 and at most a million a second, "
        f"not {rate!r}{more}",
    )
