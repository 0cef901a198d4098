"""How long tasks take: a moving average of the run time per task name. Pure.

The allocator asks it what a task is worth in work, to decide how much may be claimed ahead of the slots.
"""

from __future__ import annotations

SHORT_NS = 10_000_000
"""Nanoseconds. A task that takes longer on average is never claimed ahead: 10 ms is what a killed worker may lose a slot."""

LONG = -1
"""The cost of a task that is not known to be short, in place of nanoseconds."""

_WEIGHT = 0.2
"""Of the newest run. An average of about the last ten runs follows a change within one batch."""

_MAX_TASKS = 10_000
"""Names kept. Names come from the registry, so this is only reached by an app with that many tasks."""


class Runtimes:
    """Moving averages, in nanoseconds. Not locked: its owner sees to it that one thread at a time is inside."""

    def __init__(self) -> None:
        self._averages: dict[str, float] = {}

    def observe(self, task: str, seconds: float) -> None:
        """Add one run to the average of a task.

        Args:
            task: The task's name.
            seconds: How long it ran.
        """
        averages = self._averages
        took = seconds * 1e9
        average = averages.get(task)
        if average is not None:
            averages[task] = average + (took - average) * _WEIGHT
        elif len(averages) < _MAX_TASKS:
            averages[task] = took

    def short_ns(self, task: str) -> int | None:
        """Return the average in whole nanoseconds, at least 1, if it is known and short; else None."""
        average = self._averages.get(task)
        if average is None or average > SHORT_NS:
            return None
        return int(average) or 1
