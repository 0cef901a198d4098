"""Records that cannot be run: to the dead letters first, settled afterwards, however long the broker refuses the write."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from taskq.app import App
from taskq.clock import Clock
from taskq.errortext import one_line
from taskq.protocols import DeadLetter, IntakeChannel
from taskq.worker.deadletters import dead_letter
from taskq.worker.delivery import task_fields
from taskq.worker.screening import Refused

logger = logging.getLogger(__name__)

_LETTER_SECONDS = 5.0
"""For one write of dead letters; the channel must be polled between two."""

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 10.0


class Refusals:
    """Of one queue; its intake's thread calls it."""

    def __init__(
        self, queue: str, app: App, *, stopping: threading.Event, worker: str, clock: Clock
    ) -> None:
        """Prepare.

        Args:
            queue: Whose records they are.
            app: Its broker writes.
            stopping: Set when the worker stops: nothing is tried again then, and what is unwritten stays unsettled.
            worker: The worker's name, for dead letters.
            clock: For backoff.
        """
        self._queue = queue
        self._app = app
        self._stopping = stopping
        self._worker = worker
        self._clock = clock

    def write_off(
        self,
        channel: IntakeChannel,
        refused: Sequence[Refused],
        keep_membership: Callable[[], None],
    ) -> None:
        """Write records to the dead letters, then settle them; returns when that is done, or the worker stops.

        Args:
            channel: Where they were fetched; the calling thread owns it.
            refused: The records.
            keep_membership: Polls the channel without taking records; called between two tries.
        """
        self._settle_unwanted(channel, [each for each in refused if not each.is_wanted])
        left = [each for each in refused if each.is_wanted]
        backoff = _FIRST_BACKOFF
        while left and not self._stopping.is_set():
            errors = self._write_letters([self._letter(each) for each in left])
            written = [each for each, error in zip(left, errors, strict=True) if error is None]
            self._settle_refused(channel, written)
            failed = [error for error in errors if error is not None]
            if not failed:
                return
            left = [each for each, error in zip(left, errors, strict=True) if error is not None]
            logger.error(
                "queue %s stands still: %d records cannot be written to its dead letters (%s); tried again in %.1f s",
                self._queue,
                len(left),
                one_line(str(failed[0])),
                backoff,
                extra={"event": "intake.blocked", "queue": self._queue},
            )
            self._clock.wait(self._stopping, backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)
            keep_membership()
            left = self._still_held(channel, left)

    def _write_letters(self, letters: Sequence[DeadLetter]) -> Sequence[Exception | None]:
        try:
            return self._app.broker.publisher.dead_letters(letters, timeout=_LETTER_SECONDS)
        except (ConnectionError, ValueError) as error:
            return [error] * len(letters)

    def _letter(self, refused: Refused) -> DeadLetter:
        return dead_letter(
            refused.record,
            refused.envelope,
            reason=refused.reason,
            error=one_line(refused.error),
            has_run=False,
            worker=self._worker,
            now=self._clock.now(),
        )

    def _settle_refused(self, channel: IntakeChannel, written: Sequence[Refused]) -> None:
        held = channel.held([each.record.delivery_tag for each in written])
        channel.settle(
            [tag for tag in (each.record.delivery_tag for each in written) if tag in held]
        )
        for each in written:
            record = each.record
            logger.error(
                "record %s/%s/%s cannot be run (%s: %s); it is in the dead letters",
                record.queue,
                record.partition,
                record.offset,
                each.reason,
                one_line(each.error),
                extra={"event": "task.refused", "reason": each.reason, **_fields_of(each)},
            )

    def _settle_unwanted(self, channel: IntakeChannel, unwanted: Sequence[Refused]) -> None:
        """Settle what has a task that wants no dead letters."""
        if not unwanted:
            return
        channel.settle([each.record.delivery_tag for each in unwanted])
        for each in unwanted:
            record = each.record
            logger.error(
                "record %s/%s/%s is not run any more (%s: %s); no dead letter is wanted",
                record.queue,
                record.partition,
                record.offset,
                each.reason,
                one_line(each.error),
                extra={"event": "task.refused", "reason": each.reason, **_fields_of(each)},
            )

    def _still_held(self, channel: IntakeChannel, refused: list[Refused]) -> list[Refused]:
        """Drop what a rebalance gave to others: they write it."""
        held = channel.held([each.record.delivery_tag for each in refused])
        return [each for each in refused if each.record.delivery_tag in held]


def _fields_of(refused: Refused) -> dict[str, object]:
    envelope = refused.envelope
    task, id = (envelope.task, envelope.id) if envelope is not None else ("", "")
    return task_fields(task, id, refused.record)
