"""How a run ends: what a task may raise to say so, and what is known afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taskq.errors import TaskqError


class Reject(TaskqError):
    """Raised by a task: put this message to the dead letters, as `rejected`.

    Attributes:
        reason: One line for the person who looks at the dead letter.
    """

    def __init__(self, reason: object = "") -> None:
        super().__init__(str(reason))
        self.reason = str(reason)


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
    """A dead letter's reason: `failed`, `unreadable`, `bad_arguments`, `unsupported` or `worker_died`."""

    error: str
    """`TYPE: TEXT`."""

    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The task raised `Reject`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """The task raised `Ignore`, or its time to be run had passed."""

    reason: str


Outcome = Succeeded | Failed | Rejected | Ignored
