"""What one worker is to do, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from taskq.errors import InvalidSetting, UsageError
from taskq.hostport import HostPort
from taskq.near import nearest
from taskq.queues import check_queue
from taskq.registry import NO_TASKS, AnyTask, Registry
from taskq.settings import Settings
from taskq.worker.cpus import available_cpus

_ASYNCIO_SLOTS = 100

_MOST_NAMES = 5
"""Tasks that a line names at most."""

MOST_SLOTS = {"prefork": 1000, "threads": 10_000, "asyncio": 100_000}
"""Of one worker. More processes or threads than these no machine starts; more tasks at a time are a matter of more workers."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker runs."""

    queues: tuple[str, ...]
    pool: str
    concurrency: int
    name: str
    """Stands in its dead letters and, as client.id, at the broker."""

    grace: float
    """Seconds for what runs to finish after the first signal."""

    claim_ahead: int

    timers: bool = True
    """Whether it keeps the time of waiting tasks."""

    health: HostPort | None = None
    """Where probes are answered; None: nowhere."""

    strange: tuple[str, ...] = ()
    """Those of the queues that were named, and that no task of the app goes to."""


def worker_options(
    settings: Settings,
    registry: Registry,
    *,
    host: str,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    also: Sequence[str] = (),
    timers: bool = True,
    health: HostPort | None = None,
) -> WorkerOptions:
    """Return the options of a worker.

    Args:
        settings: Of its app.
        registry: The app's tasks.
        host: The machine's name.
        only: Queues to take; none: the default queue and those of all tasks.
        without: Queues to leave out.
        also: Queues besides those of the tasks, if there is no `only`.
        timers: Whether it keeps the time of waiting tasks.
        health: Where probes are answered; None: nowhere.

    Raises:
        InvalidQueueName: One of them is not a queue's name.
        UsageError: The app has no tasks, or no queue is left.
        InvalidSetting: More slots than the pool can have.
    """
    if not len(registry):
        # Such a worker could only put aside all that waits in the default queue.
        raise UsageError(NO_TASKS)
    for queue in (*only, *without, *also):
        check_queue(queue, prefix=settings.prefix)
    wanted = list(dict.fromkeys(only)) or sorted(
        {settings.default_queue, *registry.queues(), *also}
    )
    queues = tuple(queue for queue in wanted if queue not in without)
    if not queues:
        raise UsageError("no queue is left for this worker: -X leaves out all that it would take")
    slots = settings.concurrency
    if slots is None:
        slots = _ASYNCIO_SLOTS if settings.pool == "asyncio" else available_cpus()
    most = MOST_SLOTS.get(settings.pool, slots)
    if slots > most:
        raise InvalidSetting(
            "concurrency",
            slots,
            f"pool {settings.pool} takes {most:,} at the most; start more workers, or use another pool (-P)",
            source=settings.source("concurrency"),
        )
    return WorkerOptions(
        queues=queues,
        pool=settings.pool,
        concurrency=1 if settings.pool == "solo" else slots,
        name=settings.name or host,
        grace=settings.grace,
        claim_ahead=settings.claim_ahead,
        timers=timers,
        health=health,
        strange=tuple(queue for queue in queues if queue in _strange(settings, registry, only)),
    )


def doubts(
    settings: Settings, registry: Registry, *, only: Sequence[str] = (), without: Sequence[str] = ()
) -> Iterator[str]:
    """Yield a line for each option that is allowed and probably not meant; the arguments are those of `worker_options`."""
    known = {settings.default_queue, *registry.queues()}
    for queue in _strange(settings, registry, only):
        yield f"-Q {queue}: no task of the app has this queue{_near(queue, known)}"
    for queue in dict.fromkeys(without):
        if queue not in (only or known):
            yield f"-X {queue}: this worker would not take it anyway{_near(queue, only or known)}"
    slots = settings.concurrency
    if settings.pool == "solo" and slots is not None and slots > 1:
        yield f"the pool solo runs one task at a time; concurrency {slots} is not used"
    if settings.pool != "prefork":
        for name in ("max_tasks_per_child", "max_memory_per_child"):
            if getattr(settings, name) is not None:
                yield f"{name} is not used: the pool {settings.pool} has no processes"
        queues = set(only or known) - set(without)
        yield from _unkept_limits(
            settings.pool, [task for task in registry if task.queue in queues]
        )


def _strange(settings: Settings, registry: Registry, only: Sequence[str]) -> list[str]:
    known = {settings.default_queue, *registry.queues()}
    return [queue for queue in dict.fromkeys(only) if queue not in known]


def _unkept_limits(pool: str, tasks: Iterable[AnyTask]) -> Iterator[str]:
    """Yield a line if there are time limits that a pool cannot keep: a function in a thread cannot be ended from outside."""
    names = [task.name for task in tasks if task.limits and task.limits.hard and not task.is_async]
    if names:
        shown = ", ".join(names[:_MOST_NAMES]) + (" …" if len(names) > _MOST_NAMES else "")
        yield (
            f"the pool {pool} cannot end a plain function: time_limit is not kept for {shown}; "
            "soft_time_limit is, and prefork keeps both"
        )


def _near(queue: str, known: Iterable[str]) -> str:
    near = nearest(queue, known)
    return f"; did you mean {near!r}?" if near else ""
