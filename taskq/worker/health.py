"""Whether a worker lives, and whether it is ready: decided from what its intakes tell of themselves. Pure.

A worker lives while each intake's thread lives and moves. That the broker is away is no reason to start it anew: a new one would
find the broker as far away, and what this one has claimed would be lost. So a thread that waits for the broker counts as moving.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

BOUND = 120.0
"""Seconds in which a thread must move. It moves four times a second, but a single question to a broker that is frozen (which offset
is committed, where a partition ends) takes up to a minute."""


class Stage(Enum):
    """Where a worker is in its life, as far as health is concerned."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Pulse:
    """What one intake tells of itself."""

    queue: str
    is_running: bool
    """Whether its thread lives."""

    moved: float
    """When it last came by, in monotonic seconds."""

    waits_for: str
    """What answer of the broker it waits for; empty if for none."""

    is_joined: bool
    """Whether it has its place in the group: an assignment, or the certainty that there is no partition for it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a probe."""

    is_good: bool
    text: str
    content_type: str = "text/plain; charset=utf-8"


def liveness(stage: Stage, pulses: Iterable[Pulse], now: float) -> Answer:
    """Return whether the worker lives.

    Args:
        stage: Threads have not begun before `RUNNING`, and may have ended after it.
        pulses: Of all intakes.
        now: Monotonic seconds.
    """
    waits = []
    for pulse in pulses if stage is Stage.RUNNING else ():
        if not pulse.is_running:
            return Answer(False, f"queue {pulse.queue}: its thread has ended")
        silence = now - pulse.moved
        if pulse.waits_for:
            waits.append(f"queue {pulse.queue} waits for the broker: {pulse.waits_for}")
        elif silence > BOUND:
            return Answer(
                False, f"queue {pulse.queue}: its thread has not moved for {silence:.0f} s"
            )
    return Answer(True, "; ".join(waits) or "alive")


def readiness(stage: Stage, pulses: Iterable[Pulse]) -> Answer:
    """Return whether the worker takes tasks."""
    if stage is not Stage.RUNNING:
        return Answer(False, stage.value)
    missing = [pulse.queue for pulse in pulses if not pulse.is_joined]
    if missing:
        return Answer(False, f"not joined yet: queue {', '.join(missing)}")
    return Answer(True, "ready")
