"""The tasks, as plain functions: every system runs these."""

from __future__ import annotations

import time
from time import perf_counter

from benchmarks.tally import Tally

mine = Tally()
"""Of this process."""


def noop(number: int, text: str) -> None:
    """Do nothing."""
    mine.ran()


def stamp(sent: float) -> None:
    """Write down how long it took from sending to here.

    Args:
        sent: `perf_counter` of the sender; 0 for a task that only warms up.
    """
    if sent:
        mine.delays.append(perf_counter() - sent)
    mine.ran()


def punctual(due: float) -> None:
    """Write down how late this is.

    Args:
        due: When it was to start, in seconds since 1970; 0 for a task that only warms up.
    """
    if due:
        mine.delays.append(time.time() - due)  # noqa: TID251 - against the eta
    mine.ran()


def doze(seconds: float) -> None:
    """Wait, as for a slow server."""
    if not mine.runs:
        mine.ran()
    time.sleep(seconds)  # noqa: TID251 - this is the work
    mine.ran()
