"""How a run ends: what a task may raise to say so, and what is known afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from taskq.errors import TaskqError


class Retry(TaskqError):
    """Raised by a task: run this message again, later; if it has no retry left, it goes to the dead letters.

    Without `countdown` and `eta` it waits as the options of `@task` say.

    Attributes:
        reason: One line for the log, where there is no error.
        exc: The error that stands in log and dead letter; by default the one that was being handled.
        countdown: Seconds until it is to run.
        eta: When it is to run, with a time zone.
        max_retries: How many retries there may be; None: as many as `@task` says.
    """

    def __init__(
        self,
        reason: object = "",
        *,
        exc: BaseException | None = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        max_retries: int | None = None,
    ) -> None:
        """Say how it is to run again.

        Raises:
            TypeError: A value is of a wrong type.
            ValueError: A number is negative, or no number.
        """
        if not isinstance(cast(Any, exc), (BaseException, type(None))):
            raise TypeError(f"exc is an exception, not {exc!r}")
        if countdown is not None:
            _check_countdown(countdown)
        if max_retries is not None:
            _check_count(max_retries)
        super().__init__(str(reason))
        self.reason = str(reason)
        self.exc = exc
        self.countdown = countdown
        self.eta = eta
        self.max_retries = max_retries

    @property
    def error(self) -> BaseException:
        """What went wrong: `exc`, or what was being handled when this was raised, or this itself."""
        handled = None if self.__suppress_context__ else self.__context__
        return self.exc or self.__cause__ or handled or self


def _check_countdown(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"countdown must be seconds, not {value!r}")
    if not 0 <= value < math.inf:  # nor is NaN
        raise ValueError(f"countdown must be 0 or more seconds, not {value!r}")


def _check_count(value: Any) -> None:
    if type(value) is not int:
        raise TypeError(f"max_retries is a whole number from 0 on, not {value!r}")
    if value < 0:
        raise ValueError(f"max_retries is a whole number from 0 on, not {value!r}")


class Reject(TaskqError):
    """Raised by a task: put this message to the dead letters, as `rejected`; or back to its queue.

    Attributes:
        reason: One line for the person who looks at the dead letter.
        requeue: Whether it goes back to its queue instead: as the same task, `redelivered`, and no retry is counted.
    """

    def __init__(self, reason: object = "", requeue: bool = False) -> None:
        super().__init__(str(reason))
        self.reason = str(reason)
        self.requeue = bool(requeue)


class Ignore(TaskqError):
    """Raised by a task: there is nothing to do. Logged and counted; no dead letter, nothing is sent afterwards.

    Attributes:
        reason: One line for the log.
    """

    def __init__(self, reason: object = "") -> None:
        super().__init__(str(reason))
        self.reason = str(reason)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The function returned."""

    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The function raised, or the message cannot be run; it goes to the dead letters unless its task wants none."""

    reason: str
    """A dead letter's reason: `failed`, `retries_exhausted`, `time_limit`, `unreadable`, `bad_arguments`, `unsupported` or
    `worker_died`."""

    error: str
    """`TYPE: TEXT`."""

    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Retried:
    """The run failed, and the task runs again."""

    error: str
    """`TYPE: TEXT`."""

    eta: datetime | None
    """Not before this instant, in UTC; None: at once."""

    retries: int
    """How many retries there are with this one."""

    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The task raised `Reject`."""

    reason: str
    requeue: bool = False
    """Whether it goes back to its queue."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The task raised `Ignore`, its time to be run had passed, or it was revoked: the `reason` is `revoked` then."""

    reason: str


Outcome = Succeeded | Failed | Retried | Rejected | Ignored
