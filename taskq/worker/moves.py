"""Messages whose `eta` has not come: out of the queue, to the timers, where they wait without a worker.

A Celery client sends such messages straight to a queue. Each is moved in one transaction with its offset. Where the timers cannot
be used the queue stands still and says so: nothing is lost, and nothing runs early.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from taskq.app import App
from taskq.clock import Clock
from taskq.errortext import one_line
from taskq.instants import write_instant
from taskq.protocols import IntakeChannel, Outgoing
from taskq.timing.shards import Write
from taskq.timing.timers import LOG, due_ms, timer_write
from taskq.worker.delivery import task_fields
from taskq.worker.refusals import Refusals
from taskq.worker.screening import Early, Refused

logger = logging.getLogger(__name__)

_FAILURES = (ConnectionError, ValueError, LookupError, PermissionError)
"""What a channel raises by its Protocol; a transport's other refusals are told by the broker."""

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 10.0


class Moves:
    """Of one queue; its intake's thread calls it."""

    def __init__(
        self, queue: str, app: App, refusals: Refusals, *, stopping: threading.Event, clock: Clock
    ) -> None:
        """Prepare.

        Args:
            queue: Whose records they are.
            app: Its broker has the timers.
            refusals: Takes what the timers cannot take.
            stopping: Set when the worker stops: nothing is tried again then, and what was not moved stays in the queue.
            clock: For backoff.
        """
        self._queue = queue
        self._app = app
        self._refusals = refusals
        self._stopping = stopping
        self._clock = clock
        self._is_checked = False

    def move(
        self,
        channel: IntakeChannel,
        early: Sequence[Early],
        keep_membership: Callable[[], None],
        give_up: Callable[[], bool],
    ) -> None:
        """Move records; returns when each was moved, was given back, is a dead letter, or the worker stops.

        Args:
            channel: Where they were fetched; the calling thread owns it.
            early: The records.
            keep_membership: Polls the channel without taking records; called between two tries.
            give_up: Whether to wait no longer for the broker's answer.
        """
        left = list(early)
        backoff = _FIRST_BACKOFF
        while left and not self._stopping.is_set():
            error = self._try(channel, left, give_up)
            if error is None:
                return
            if isinstance(error, ValueError) and self._is_checked:
                # The timers are fit, so it is one of the records. One alone that they will not take is a dead letter.
                left = [each for each in left if not self._is_put_aside(channel, each, give_up)]
                left = self._still_held(channel, left)
            if not left or self._stopping.is_set():
                return
            logger.error(
                "queue %s stands still: %d messages whose eta has not come cannot be moved to the timers (%s); "
                "tried again in %.1f s",
                self._queue,
                len(left),
                one_line(str(error)),
                backoff,
                extra={"event": "intake.blocked", "queue": self._queue},
            )
            self._clock.wait(self._stopping, backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)
            keep_membership()
            left = self._still_held(channel, left)

    def _try(
        self, channel: IntakeChannel, early: Sequence[Early], give_up: Callable[[], bool]
    ) -> Exception | None:
        """Move all, or return why not."""
        broker = self._app.broker
        try:
            if not self._is_checked:
                broker.logs.check(LOG, timeout=self._app.settings.connect_timeout)
                self._is_checked = True
            tags = [each.record.delivery_tag for each in early]
            granted, _ = channel.move(tags, [_write(each) for each in early], give_up=give_up)
        except _FAILURES as error:
            return self._failed(error)
        except broker.refusals as error:
            return self._failed(error)
        moved = set(granted)
        for each in early:
            if each.record.delivery_tag in moved:
                _say_moved(each)
        return None

    def _failed(self, error: Exception) -> Exception:
        """Look at the timers again before the next try, unless it is a record's fault."""
        self._is_checked = self._is_checked and isinstance(error, ValueError)
        return error

    def _is_put_aside(
        self, channel: IntakeChannel, early: Early, give_up: Callable[[], bool]
    ) -> bool:
        """Move one record alone; return whether it is one for the dead letters instead."""
        error = self._try(channel, [early], give_up)
        if not isinstance(error, ValueError):
            return False
        why = f"its eta {_eta(early)} has not come, and the timers do not take it: {error}"
        self._refusals.write_off(
            channel, [Refused(early.record, early.envelope, "unsupported", why)]
        )
        return True

    def _still_held(self, channel: IntakeChannel, early: Sequence[Early]) -> list[Early]:
        """Drop what was concluded, and what a rebalance gave to others: they move it."""
        held = channel.held([each.record.delivery_tag for each in early])
        return [each for each in early if each.record.delivery_tag in held]


def _write(early: Early) -> Write:
    """Return the timer of a record: as it stands in its queue."""
    record, eta = early.record, early.envelope.eta
    assert eta is not None
    headers = [(name, value) for name, value in record.headers if value is not None]
    message = Outgoing(record.queue, record.value or b"", headers, record.key)
    # The same however often it is written: should it come again, it is one timer.
    unique = f"{record.queue}-{record.partition}-{record.offset}"
    return timer_write(message, task_id=early.envelope.id, due_ms=due_ms(eta), unique=unique)


def _eta(early: Early) -> str:
    return "" if early.envelope.eta is None else write_instant(early.envelope.eta)


def _say_moved(early: Early) -> None:
    envelope = early.envelope
    logger.info(
        "task %s[%s] waits until %s; it is among the timers now",
        envelope.task,
        envelope.id,
        _eta(early),
        extra={
            "event": "task.delayed",
            **task_fields(envelope.task, envelope.id, early.record),
            "due": _eta(early),
        },
    )
