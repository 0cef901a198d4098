"""Dead letters of what could not be sent when its time had come: how the task's record that it was for is had back.

They stand in `taskq.timers.dlq`, the letters of waiting tasks and those of schedules' occurrences. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskq.errors import DecodeError, InvalidQueueName
from taskq.letters.deadletters import PREFIX
from taskq.protocols import HeaderList, Outgoing, StoredDeadLetter
from taskq.queues import check_source
from taskq.timing import timers

QUEUE = PREFIX + "queue"
"""Header of an occurrence's letter: the queue it was for. A waiting task's own headers have it."""

SOURCE_KEY = PREFIX + "source-key"
"""Header of the source record's key: of a waiting task's in the log, or of an occurrence's in its queue."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A waiting task's record as it stood in the log; a `taskq.timing.shards.LogRecord`."""

    key: bytes
    value: bytes | None
    headers: HeaderList
    partition: int = -1
    offset: int = -1
    timestamp_ms: int = -1


def task_record(letter: StoredDeadLetter, now_ms: int) -> Outgoing | None:
    """Return what a letter's task would have been written to its queue as; None where the letter does not tell.

    Args:
        letter: Of `taskq.timers`.
        now_ms: When it is sent; its time has come, whatever its `eta` says.
    """
    own = [header for header in letter.headers if not header[0].startswith(PREFIX)]
    ours = {name: value for name, value in letter.headers if name.startswith(PREFIX)}
    key = ours.get(SOURCE_KEY)
    if not any(name == timers.FORMAT_HEADER for name, _ in own):
        return _occurrence(letter, own, ours.get(QUEUE), key)
    try:
        return timers.read_timer(_Record(key or b"", letter.value, own)).fired(now_ms)
    except (DecodeError, timers.NewerTimer):
        return None


def _occurrence(
    letter: StoredDeadLetter, headers: HeaderList, queue: bytes | None, key: bytes | None
) -> Outgoing | None:
    whole = [(name, value) for name, value in headers if value is not None]
    if letter.value is None or queue is None or not any(name == "task" for name, _ in whole):
        return None
    try:
        return Outgoing(check_source(queue.decode()), letter.value, whole, key)
    except (InvalidQueueName, UnicodeDecodeError):
        return None
