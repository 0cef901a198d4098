"""Queues that nobody takes from, members that have nothing to take, and dead letters that wait for a person."""

from __future__ import annotations

from collections.abc import Iterator

from taskq.doctor.facts import Facts
from taskq.doctor.findings import Finding, note, ok, problem, softened
from taskq.printing import age, counted, listed
from taskq.protocols import QueueStatus
from taskq_kafka.steps import queue_of_source


def queues(facts: Facts) -> Iterator[Finding]:
    """Look at what waits, and who takes it."""
    for status in facts.queues:
        finding = _queue(status, facts)
        is_ours = queue_of_source(status.queue) in facts.ours
        yield finding if is_ours else softened(finding)


def _queue(status: QueueStatus, facts: Facts) -> Finding:
    subject = f"queue {status.queue}"
    waits = counted(status.lag, "waiting task")
    if status.oldest_age is not None:
        waits += f", the oldest for {age(status.oldest_age)}"
    if not facts.group.is_told:
        return note(subject, waits, "This broker cannot tell which workers listen.")
    if status.workers:
        return ok(subject, f"{waits}; {counted(status.workers, 'worker')}")
    if status.lag:
        return problem(
            subject,
            f"{waits}, and no worker",
            "They wait until a worker of this group takes from the queue.",
            f"Start one: 'taskq worker -A MODULE -Q {queue_of_source(status.queue)}'; 'taskq workers' prints who is there.",
        )
    if status.queue in facts.needed:
        return note(
            subject,
            "no worker",
            "Tasks that are sent to it wait.",
            f"Start one: 'taskq worker -A MODULE -Q {status.queue}'.",
        )
    return ok(subject, "nothing waits")


def spare_members(facts: Facts) -> Iterator[Finding]:
    """Look for members without a partition: their queue has fewer partitions than members."""
    idle = [member for member in facts.group.members if not member.holds]
    if not idle:
        return
    names = listed(sorted({member.name for member in idle}))
    # The group does not tell which queue a member without a partition is for: one with few is likely.
    ours = [each for each in facts.queues if queue_of_source(each.queue) in facts.ours]
    fewest = sorted(ours, key=lambda each: each.partitions)
    partitions = listed([f"{each.queue} {each.partitions}" for each in fewest])
    yield note(
        "workers",
        f"{counted(len(idle), 'member')} of {len(facts.group.members)} without a partition: {names}",
        f"A partition has one worker at a time, so they run nothing (partitions: {partitions}). Just after a worker has come or "
        "gone it passes by itself.",
        "Give the running workers more slots (-c) instead, or the queue more partitions (kafka-topics.sh --alter --partitions N).",
    )


def dead_letters(facts: Facts) -> Iterator[Finding]:
    """Name the queues whose dead letters wait for a person."""
    for queue, count in facts.dead_letters.items():
        if count:
            yield note(
                f"dead letters of {queue}",
                f"{counted(count, 'task')} failed for good or could not be run",
                "They stay until their retention is over.",
                f"Look at them: 'taskq dlq list {queue}'.",
            )
