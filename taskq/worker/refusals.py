"""Records that cannot be run: to the dead letters first, settled afterwards.

Where the broker refuses the write their partition stands still, and it is tried again for as long as it takes; the others go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from taskq.app import App
from taskq.clock import Clock
from taskq.errortext import one_line
from taskq.protocols import DeadLetter, IntakeChannel
from taskq.worker.blocked import say_freed
from taskq.worker.deadletters import dead_letter
from taskq.worker.delivery import task_fields
from taskq.worker.screening import Refused

logger = logging.getLogger(__name__)

_LETTER_SECONDS = 5.0
"""For one write of dead letters; the channel must be polled between two."""

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 10.0

_SAID_EVERY = 60.0
"""Seconds after which it is said again that a partition stands still."""


class Refusals:
    """Of one queue; its intake's thread calls it, and any thread may read `blocked`."""

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
        self._waiting: list[Refused] = []
        """Held by the channel still: what could not be written."""

        self._backoff = _FIRST_BACKOFF
        self._retry_at = 0.0
        self._said: dict[int, float] = {}
        self.written: dict[str, int] = {}
        """How many dead letters were written, by reason."""

        self.blocked: Mapping[int, int] = {}
        """The partitions that stand still for it, with the offset of the record that cannot be written. Replaced, not changed."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to write again what could not be written."""
        if not self._waiting or self._stopping.is_set():
            return False
        return self._clock.monotonic() >= self._retry_at

    def write_off(self, channel: IntakeChannel, refused: Sequence[Refused]) -> None:
        """Write records to the dead letters, then settle them. The partitions of those that cannot be written stand still.

        Args:
            channel: Where they were fetched; the calling thread owns it.
            refused: The records.
        """
        self._settle_unwanted(channel, [each for each in refused if not each.is_wanted])
        wanted = [each for each in refused if each.is_wanted]
        if wanted:
            self._write(channel, wanted)

    def try_again(self, channel: IntakeChannel) -> None:
        """Write again what could not be written; call it when it is due."""
        held = channel.held([each.record.delivery_tag for each in self._waiting])
        # What a rebalance gave to others is theirs to write.
        left = [each for each in self._waiting if each.record.delivery_tag in held]
        self._waiting = []
        self._write(channel, left)

    def forget(self) -> None:
        """Forget what could not be written: its channel is closed, and it comes again."""
        self._waiting = []
        self._say_still(None)

    def _write(self, channel: IntakeChannel, refused: Sequence[Refused]) -> None:
        errors = self._write_letters([self._letter(each) for each in refused])
        pairs = list(zip(refused, errors, strict=True))
        self._settle_refused(channel, [each for each, error in pairs if error is None])
        failed = [(each, error) for each, error in pairs if error is not None]
        self._waiting += [each for each, _ in failed]
        if failed:
            self._retry_at = self._clock.monotonic() + self._backoff
            self._backoff = min(self._backoff * 2, _LONGEST_BACKOFF)
        elif not self._waiting:
            self._backoff = _FIRST_BACKOFF
        if failed or self.blocked:
            self._say_still(failed[0][1] if failed else None)
            channel.pass_over(self.blocked.keys(), "letters")

    def _say_still(self, error: Exception | None) -> None:
        """Say of each partition that it stands still, again every minute, and that it goes on."""
        blocked: dict[int, Refused] = {}
        for each in self._waiting:
            blocked.setdefault(each.record.partition, each)
        now = self._clock.monotonic()
        for partition, first in blocked.items():
            if now - self._said.get(partition, -_SAID_EVERY) >= _SAID_EVERY and error is not None:
                self._said[partition] = now
                self._say_blocked(first, error)
        for partition in self.blocked.keys() - blocked.keys():
            self._said.pop(partition, None)
            say_freed(self._queue, partition)
        self.blocked = {partition: each.record.offset for partition, each in blocked.items()}

    def _say_blocked(self, refused: Refused, error: Exception) -> None:
        record = refused.record
        logger.error(
            "queue %s partition %d stands still: the record at offset %d cannot be run (%s), nor written to the dead letters (%s); "
            "tried again every %.0f s at the latest, other partitions go on",
            self._queue,
            record.partition,
            record.offset,
            refused.reason,
            one_line(str(error)),
            _LONGEST_BACKOFF,
            extra={"event": "intake.partition_blocked", **_fields_of(refused)},
        )

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
            self.written[each.reason] = self.written.get(each.reason, 0) + 1
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


def _fields_of(refused: Refused) -> dict[str, object]:
    envelope = refused.envelope
    task, id = (envelope.task, envelope.id) if envelope is not None else ("", "")
    return task_fields(task, id, refused.record)
