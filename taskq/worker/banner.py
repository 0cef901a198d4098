"""What a worker prints about itself when it starts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskq.registry import Registry
from taskq.worker.options import WorkerOptions
from taskq_kafka.steps import queue_of_source, step_of_source


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker stands, as far as it knows when it prints."""

    version: str
    broker: str
    group: str
    protocol: str
    """Empty where it is not known yet."""

    partitions: Mapping[str, int]
    """How many each queue has; those not known are missing."""

    steps: Sequence[str] = ()
    """The topics of priority steps that it takes from, QUEUE.pN."""


def banner(options: WorkerOptions, registry: Registry, place: Place) -> str:
    """Return the banner, several lines."""
    protocol = f" (protocol {place.protocol})" if place.protocol else ""
    lines = [
        f"taskq {place.version} worker {options.name}",
        f"- broker:  {place.broker}",
        f"- group:   {place.group}{protocol}",
        f"- pool:    {options.pool}, concurrency {options.concurrency}",
        f"- timers:  {'kept here, too' if options.timers else 'left to others'}",
        "[queues]",
        *(f"  . {_queue(queue, place)}" for queue in options.queues),
        "[tasks]",
        *_tasks(options.queues, registry),
    ]
    return "\n".join(lines)


def banner_fields(options: WorkerOptions, registry: Registry, place: Place) -> dict[str, object]:
    """Return what the banner says as fields of a log record."""
    return {
        "worker": options.name,
        "version": place.version,
        "broker": place.broker,
        "group": place.group,
        "protocol": place.protocol,
        "pool": options.pool,
        "concurrency": options.concurrency,
        "timers": options.timers,
        "queues": list(options.queues),
        "partitions": dict(place.partitions),
        "steps": list(place.steps),
        "tasks": [task.name for task in registry if task.queue in options.queues],
        "tasks_elsewhere": [task.name for task in registry if task.queue not in options.queues],
    }


def _queue(queue: str, place: Place) -> str:
    count = place.partitions.get(queue)
    known = [] if count is None else [f"{count} partition{'s' if count != 1 else ''}"]
    steps = [step_of_source(source) for source in place.steps if queue_of_source(source) == queue]
    if steps:
        known.append(f"priorities from {', '.join(map(str, sorted(steps, reverse=True)))}")
    return f"{queue} ({'; '.join(known)})" if known else queue


def _tasks(queues: Sequence[str], registry: Registry) -> list[str]:
    taken = [task for task in registry if task.queue in queues]
    others = [task for task in registry if task.queue not in queues]
    lines = [f"  . {task.name}" for task in taken] or ["  (none)"]
    if others:
        lines.append("[tasks whose queue this worker does not take]")
        lines += [f"  . {task.name} (queue {task.queue})" for task in others]
    return lines
