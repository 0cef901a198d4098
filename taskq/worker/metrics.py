"""What a worker tells of itself as metrics: decided from what its parts know, in Prometheus' text format. Pure.

Names, units and meanings are in taskq/events.py. A gauge that says something of a partition is only there while that is so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from taskq.events import METRICS
from taskq.protocols import IntakeStatus
from taskq.worker.counts import Labels
from taskq.worker.health import Pulse

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of Prometheus' text format."""

_Sample = tuple[str, Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class IntakeFacts:
    """What one intake knows."""

    status: IntakeStatus
    pulse: Pulse
    in_hand: int
    claimed: int
    """Records that were claimed since its start."""

    unwritten: Collection[int]
    """Partitions that stand still because a dead letter cannot be written."""

    refused: Mapping[str, int]
    """Dead letters of what could not be run, by reason."""


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker knows."""

    slots: int
    busy: int
    """Slots in which a task is at work, or which are reserved for one."""

    unfinished: int
    """Tasks that are claimed and have not ended."""

    held: int
    """Messages that wait to be written."""

    ended: Mapping[Labels, int]
    """By task and outcome."""

    letters: Mapping[Labels, int]
    """Dead letters of what has run, by queue and reason."""

    intakes: Sequence[IntakeFacts]
    now: float
    """Monotonic seconds."""


def exposition(facts: WorkerFacts) -> str:
    """Return the metrics as text; without the last line's end."""
    samples: dict[str, list[str]] = {name: [] for name in METRICS}
    for name, labels, value in _samples(facts):
        samples[name].append(f"{name}{_labels(labels)} {value:.15g}")
    lines: list[str] = []
    for name, found in samples.items():
        if found:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {METRICS[name]}", f"# TYPE {name} {kind}", *found]
    return "\n".join(lines)


def _samples(facts: WorkerFacts) -> Iterator[_Sample]:
    yield "taskq_slots", {}, facts.slots
    yield "taskq_slots_busy", {}, facts.busy
    yield "taskq_tasks_unfinished", {}, facts.unfinished
    yield "taskq_outbox_held", {}, facts.held
    for (task, outcome), count in sorted(facts.ended.items()):
        yield "taskq_tasks_ended_total", {"task": task, "outcome": outcome}, count
    for (queue, reason), count in _letters(facts):
        yield "taskq_dead_letters_total", {"queue": queue, "reason": reason}, count
    for intake in facts.intakes:
        yield from _samples_of(intake, facts.now)


def _letters(facts: WorkerFacts) -> Iterable[tuple[Labels, int]]:
    letters = dict(facts.letters)
    for intake in facts.intakes:
        for reason, count in intake.refused.items():
            place = (intake.pulse.queue, reason)
            letters[place] = letters.get(place, 0) + count
    return sorted(letters.items())


def _samples_of(intake: IntakeFacts, now: float) -> Iterator[_Sample]:
    status, pulse = intake.status, intake.pulse
    queue = {"queue": pulse.queue}
    yield "taskq_queue_joined", queue, pulse.is_joined
    yield "taskq_queue_partitions", queue, len(status.partitions)
    yield "taskq_queue_lag", queue, status.lag
    yield "taskq_queue_in_hand", queue, intake.in_hand
    yield "taskq_queue_claimed_total", queue, intake.claimed
    yield "taskq_queue_silence_seconds", queue, round(max(0.0, now - pulse.moved), 3)
    for reason, partitions in (
        ("unfinished_task", status.blocked),
        ("commit_refused", status.refused),
        ("dead_letter", intake.unwritten),
    ):
        for partition in sorted(partitions):
            labels = {**queue, "partition": str(partition), "reason": reason}
            yield "taskq_partition_blocked", labels, 1


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
