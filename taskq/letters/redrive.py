"""Dead letters that go back to their queue, or for good: which may, and what is written. Pure; transactions are the transport's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from taskq.attempts import HEADER as ATTEMPTS
from taskq.attempts import instant_text
from taskq.instants import read_instant
from taskq.letters.deadletters import PREFIX, REDRIVEN, REDRIVEN_FROM, DeadLetterView
from taskq.protocols import Removal, ReturnedRecord, StoredDeadLetter
from taskq.running.returning import REQUEUED
from taskq.timing.timerletters import task_record
from taskq.timing.timers import LOG as TIMERS
from taskq_kafka.steps import source_of, step_of_source

MOST_REDRIVES = 5
"""What has come back so often will come back again: it is left, unless that is forced."""

_SOURCE_KEY = PREFIX + "source-key"
_OF_ONE_LIFE = frozenset({"retries", ATTEMPTS, REQUEUED, REDRIVEN, REDRIVEN_FROM})
"""Headers that begin anew, or are written anew."""


class Left(Enum):
    """Why a letter that was selected is left where it is."""

    OFTEN = f"redriven {MOST_REDRIVES} times or more already"
    EXPIRED = "past 'expires', so a worker would drop them"
    NO_TASK = "no readable task with a queue, so there is nothing to send; discard them"
    NEWER = "written by a newer taskq, in a format that this one does not know"


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants what done."""

    by: str
    """USER@HOST."""

    now: datetime
    note: str = ""
    to: str | None = None
    """The queue that letters go back to; None: they are discarded. `taskq.timers`: each to the queue that its task was for."""

    is_forced: bool = False

    @property
    def action(self) -> str:
        """What is done: `redriven` or `discarded`."""
        return "discarded" if self.to is None else "redriven"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A dead letter that was selected."""

    letter: StoredDeadLetter
    view: DeadLetterView

    def why_left(self, order: Order) -> Left | None:
        """Return why it is left, or None if it goes."""
        if self.view.is_newer:
            return Left.NEWER
        if order.to is None:
            return None
        if self.view.queue == TIMERS and task_record(self.letter, 0) is None:
            return Left.NO_TASK
        if order.is_forced:
            return None
        if self.view.redriven >= MOST_REDRIVES:
            return Left.OFTEN
        return Left.EXPIRED if _has_expired(self.view, order.now) else None

    def removal(self, order: Order) -> Removal:
        """Return what is to be written."""
        record = None
        if order.to is not None and self.view.queue == TIMERS:
            record = returned_timer(self.letter, self.view, order)
        elif order.to is not None:
            record = returned(self.letter, self.view, order.to)
        return Removal(self.letter, _note(self.view, order, record), record)


def returned(letter: StoredDeadLetter, view: DeadLetterView, queue: str) -> ReturnedRecord:
    """Return the record that was put aside, as it was: its value, key and own headers byte for byte, and in its priority step.

    Without `retries` and what is known of them: its attempts are counted anew. Headers say where it comes from.
    """
    key = None
    headers: list[tuple[str, bytes | None]] = []
    for name, value in letter.headers:
        if name == _SOURCE_KEY:
            key = value
        elif not name.startswith(PREFIX) and name not in _OF_ONE_LIFE:
            headers.append((name, value))
    step = step_of_source(letter.id.split("/", 1)[0])
    headers += _origin(letter, view)
    return ReturnedRecord(source_of(queue, step), view.value, headers, key)


def returned_timer(
    letter: StoredDeadLetter, view: DeadLetterView, order: Order
) -> ReturnedRecord | None:
    """Return the record of a task that its queue would not take when its time had come, as it would have been written then.

    With its `retries`: it is no attempt that has failed.
    """
    message = task_record(letter, int(order.now.timestamp() * 1000))
    if message is None:
        return None
    source = message.queue
    if order.to not in (None, TIMERS):
        source = source_of(order.to, step_of_source(source))
    headers = [each for each in message.headers if each[0] not in (REDRIVEN, REDRIVEN_FROM)]
    return ReturnedRecord(source, message.value, [*headers, *_origin(letter, view)], message.key)


def _origin(letter: StoredDeadLetter, view: DeadLetterView) -> list[tuple[str, bytes]]:
    """Return the headers that say where a record comes from."""
    return [(REDRIVEN, str(view.redriven + 1).encode()), (REDRIVEN_FROM, _bytes(letter.id))]


def counts(views: Iterable[DeadLetterView]) -> list[tuple[str, str | None, str | None, int]]:
    """Return how many letters there are by queue, task and reason; the most first within a queue."""
    found = Counter((view.queue, view.task, view.reason) for view in views)
    rows = [(queue, task, reason, count) for (queue, task, reason), count in found.items()]
    return sorted(rows, key=lambda row: (row[0], -row[3], row[1] or "", row[2] or ""))


def _note(
    view: DeadLetterView, order: Order, record: ReturnedRecord | None
) -> list[tuple[str, bytes]]:
    """Return the tombstone's headers: the letter is gone, these tell what became of it until the topic is compacted."""
    texts = {
        "action": order.action,
        "by": order.by,
        "at": instant_text(order.now),
        "to": record.queue if record is not None and record.queue != view.queue else None,
        "note": order.note,
        "id": view.id,
        "task": view.task,
        "reason": view.reason,
    }
    return [(PREFIX + name, _bytes(text)) for name, text in texts.items() if text]


def _has_expired(view: DeadLetterView, now: datetime) -> bool:
    text = view.headers.get("expires", "")
    try:
        return read_instant(text) <= now
    except ValueError:
        pass
    try:
        return read_instant(f"{text}Z") <= now  # Celery's protocol: without an offset it is UTC
    except ValueError:
        return False


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
