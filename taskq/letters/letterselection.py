"""Which dead letters a command is about. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from taskq.letters.deadletters import DeadLetterView
from taskq.near import nearest

REASONS = (
    "bad_arguments",
    "failed",
    "offset_expired",
    "refused",
    "rejected",
    "retries_exhausted",
    "time_limit",
    "unknown_task",
    "unreadable",
    "unsupported",
    "worker_died",
)
"""All codes of `dlq-reason`: another one is a typing error."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What letters must have in common; what is None or empty is not asked."""

    ids: Collection[str] = ()
    """Task ids, or QUEUE/PARTITION/OFFSET of the records."""

    task: str | None = None
    reason: str | None = None
    error: str | None = None
    """A part of the error's line; capitals count as small letters."""

    failed_before: datetime | None = None
    failed_after: datetime | None = None

    def takes(self, view: DeadLetterView) -> bool:
        """Return whether a letter is selected. One that tells no time is neither old nor new."""
        moment = view.moment
        return (
            (not self.ids or view.id in self.ids or view.source in self.ids)
            and (self.task is None or view.task == self.task)
            and (self.reason is None or view.reason == self.reason)
            and (self.error is None or self.error.lower() in (view.error or "").lower())
            and (self.failed_before is None or (moment is not None and moment < self.failed_before))
            and (self.failed_after is None or (moment is not None and moment >= self.failed_after))
        )

    def unmatched_ids(self, views: Iterable[DeadLetterView]) -> list[str]:
        """Return the ids that no letter has."""
        there = {name for view in views for name in (view.id, view.source)}
        return [id for id in self.ids if id not in there]

    def near_miss(self, views: Collection[DeadLetterView]) -> str | None:
        """Return the task that was probably meant, where none of the letters has the one that is asked for."""
        tasks = {view.task for view in views if view.task}
        return (
            nearest(self.task, tasks) if self.task is not None and self.task not in tasks else None
        )
