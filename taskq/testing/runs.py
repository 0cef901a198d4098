"""What became of one message. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from taskq.outcome import Failed, Outcome, Succeeded


@dataclass(frozen=True, slots=True)
class Run:
    """One message that a worker would have concluded by now: run, refused or expired."""

    task: str
    """Its name; an alias is resolved. `?` where the message names none."""

    id: str
    queue: str
    args: tuple[Any, ...]
    """Empty where the message could not be read."""

    kwargs: dict[str, Any]
    outcome: Outcome
    """`Succeeded`, `Failed`, `Retried`, `Rejected` or `Ignored` of taskq.outcome."""

    error: BaseException | None = field(default=None, compare=False)
    """What the function raised; None where it returned, raised `Ignore` or `Reject`, or was not run."""

    @property
    def result(self) -> Any:
        """What the function returned; None where it did not."""
        return self.outcome.result if isinstance(self.outcome, Succeeded) else None

    @property
    def has_failed(self) -> bool:
        """Whether it failed for good: no retry follows."""
        return isinstance(self.outcome, Failed)
