"""What waits in the log `taskq.timers`, for people who ask. Pure; whoever fires them keeps less (timershard.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from taskq.errors import DecodeError
from taskq.timing.shards import LogRecord
from taskq.timing.timers import NewerTimer, is_cancel, read_timer, split_key
from taskq_kafka.steps import queue_of_source


@dataclass(frozen=True, slots=True)
class WaitingTimer:
    """A task that waits for its time."""

    id: str
    task: str
    """Empty where it cannot be read."""

    queue: str
    due_ms: int


@dataclass(slots=True)
class Waiting:
    """The timers of a log, or of one of its partitions."""

    timers: list[WaitingTimer] = field(default_factory=list)
    """The next due first."""

    unread: int = 0
    """How many could not be read, or are a newer version's."""

    def of(self, id: str) -> list[WaitingTimer]:
        """Return the timers of one task."""
        return [timer for timer in self.timers if timer.id == id]


def read_waiting(records: Iterable[LogRecord]) -> Waiting:
    """Return what waits, from the records of a log in their order."""
    by_id: dict[bytes, dict[bytes, WaitingTimer | None]] = {}
    for record in records:
        id, unique = split_key(record.key)
        if record.value is None:
            timers = by_id.get(id, {})
            timers.pop(unique, None)
            if not timers:
                by_id.pop(id, None)
        elif is_cancel(record.key):
            by_id.pop(id, None)
        else:
            by_id.setdefault(id, {})[unique] = _read(record)
    found = [timer for timers in by_id.values() for timer in timers.values()]
    waiting = [timer for timer in found if timer is not None]
    waiting.sort(key=lambda timer: (timer.due_ms, timer.id))
    return Waiting(waiting, len(found) - len(waiting))


def _read(record: LogRecord) -> WaitingTimer | None:
    try:
        timer = read_timer(record)
    except (NewerTimer, DecodeError):
        return None
    queue = queue_of_source(timer.message.queue)
    return WaitingTimer(timer.task_id, timer.task, queue, timer.due_ms)
