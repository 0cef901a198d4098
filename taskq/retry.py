"""When a task that failed runs again, or never. Pure: no clock, no dice, no record; those are the executor's and aftermath's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from taskq.errors import InvalidArguments
from taskq.outcome import Retry
from taskq.timing.delays import when
from taskq.timing.timers import due_ms

Exceptions = type[BaseException] | Iterable[type[BaseException]]
"""One class, or several, as in an `except`."""

MAX_RETRIES = 3
RETRY_DELAY = 180.0
"""Seconds before a retry without backoff: Celery's default."""

BACKOFF_MAX = 600.0
"""Seconds that a backoff may come to: Celery's default."""

_MOST_DOUBLINGS = 1000  # a float takes no more
_LONGEST_REQUEUE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When runs of one task are repeated. Made by `retry_policy`, which checks."""

    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    max_retries: int | None = MAX_RETRIES
    """None: without end."""

    backoff: float = 0.0
    """Seconds before the first retry, doubled for each that follows; 0: `delay` before each."""

    backoff_max: float = BACKOFF_MAX
    jitter: bool = True
    delay: float = RETRY_DELAY
    key_hold: float | None = None
    """Seconds that a message with a key may hold up the others of its key; None: as the setting says."""

    def wants(self, error: BaseException) -> bool:
        """Return whether a run that raised this is to be repeated without being asked."""
        return isinstance(error, self.autoretry_for) and not isinstance(
            error, self.dont_autoretry_for
        )

    def wait(self, retries: int, dice: float) -> float:
        """Return the seconds before the next run.

        Args:
            retries: How many retries there were before.
            dice: From 0 on, below 1: the share of the longest wait that is waited. Full jitter, so that tasks which failed together
                do not come back together.
        """
        if not self.backoff:
            return self.delay
        longest = min(self.backoff_max, self.backoff * 2.0 ** min(retries, _MOST_DOUBLINGS))
        return longest * dice if self.jitter else longest


NO_RETRIES = RetryPolicy()
"""Of a task that names nothing: it is retried when it asks for it."""


@dataclass(frozen=True, slots=True)
class Again:
    """A task runs once more."""

    due_ms: int
    """Milliseconds since 1970; 0: at once."""

    wait: float
    """Seconds from now."""

    retries: int
    """How many retries there are with this one."""

    limit: int | None
    """How many there may be; None: without end."""

    @property
    def count(self) -> str:
        """Which retry it is: `2 of 3`."""
        return f"{self.retries}" if self.limit is None else f"{self.retries} of {self.limit}"


@dataclass(frozen=True, slots=True)
class Never:
    """A task has failed for good."""

    why: str
    """For people, behind the error; empty where all retries were used."""


def decide(
    policy: RetryPolicy,
    asked: Retry | None,
    *,
    task: str,
    retries: int,
    now: datetime,
    expires: datetime | None,
    dice: float,
) -> Again | Never:
    """Return when a task that failed runs again.

    Args:
        policy: The task's.
        asked: What the task raised, if it asked for a retry itself; its wishes go before the policy's.
        task: Its name, for errors.
        retries: How many retries there were before.
        now: The clock of who ran it.
        expires: After this instant it is not run any more: a retry that would come later is none.
        dice: See `RetryPolicy.wait`.

    Raises:
        InvalidArguments: What the task asked for cannot be.
    """
    limit = policy.max_retries
    if asked is not None and asked.max_retries is not None:
        limit = _count(task, "max_retries", asked.max_retries)
    countdown = asked.countdown if asked is not None else None
    eta = asked.eta if asked is not None else None
    if countdown is None and eta is None:
        countdown = policy.wait(retries, dice)
    at = when(task, now, countdown=countdown, eta=eta).eta
    if limit is not None and retries >= limit:
        return Never("")
    due = now if at is None or at <= now else at
    if expires is not None and expires <= due:
        return Never("its next retry would come after its expires")
    is_now = due == now
    return Again(
        0 if is_now else due_ms(due),
        0.0 if is_now else (due - now).total_seconds(),
        retries + 1,
        limit,
    )


def requeue_wait(times: int) -> float:
    """Return the seconds before a task that put itself back (`Reject(requeue=True)`) for the so-maniest time is in its queue.

    The first time none, then 1, 2, 4 … 60: nothing ends a task that always puts itself back, and it must not be all that runs.
    """
    return 0.0 if times <= 1 else min(_LONGEST_REQUEUE, 2.0 ** min(times - 2, _MOST_DOUBLINGS))


def retry_policy(
    task: str,
    *,
    autoretry_for: Exceptions = (),
    dont_autoretry_for: Exceptions = (),
    max_retries: int | None = MAX_RETRIES,
    retry_backoff: bool | float = False,
    retry_backoff_max: float = BACKOFF_MAX,
    retry_jitter: bool = True,
    default_retry_delay: float = RETRY_DELAY,
    key_hold: float | None = None,
) -> RetryPolicy:
    """Return what the options of `@task` say.

    Raises:
        InvalidArguments: One of them cannot be.
    """
    if not isinstance(cast(Any, retry_jitter), bool):
        raise InvalidArguments(task, f"retry_jitter is True or False, not {retry_jitter!r}")
    return RetryPolicy(
        _classes(task, "autoretry_for", autoretry_for),
        _classes(task, "dont_autoretry_for", dont_autoretry_for),
        None if max_retries is None else _count(task, "max_retries", max_retries),
        _backoff(task, retry_backoff),
        _seconds(task, "retry_backoff_max", retry_backoff_max),
        retry_jitter,
        _seconds(task, "default_retry_delay", default_retry_delay),
        None if key_hold is None else _seconds(task, "key_hold", key_hold),
    )


def _classes(task: str, name: str, given: Any) -> tuple[type[BaseException], ...]:
    if isinstance(given, type):
        given = (given,)
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise InvalidArguments(task, f"{name} is a tuple of exception classes, not {given!r}")
    found = tuple(given)
    for each in found:
        if not isinstance(each, type) or not issubclass(each, BaseException):
            raise InvalidArguments(
                task, f"{name} is a tuple of exception classes; {each!r} is none"
            )
    return found


def _count(task: str, name: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise InvalidArguments(task, f"{name} is a whole number from 0 on, not {value!r}")
    return value


def _backoff(task: str, value: Any) -> float:
    if value is None or isinstance(value, bool):
        return 1.0 if value else 0.0
    if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InvalidArguments(
            task, f"retry_backoff is True, False or a number of seconds, not {value!r}"
        )
    return float(value)


def _seconds(task: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InvalidArguments(task, f"{name} is a number of seconds from 0 on, not {value!r}")
    return float(value)
