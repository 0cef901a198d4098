"""What an intake does about tasks with a key besides their order: let go of held ones, and say what stops a queue or ends an order.

A task that fails and is to be tried again is *held*: the worker keeps record and key until its next run. Whoever has to let go of
one loses nothing. What settles late is given back, and comes again before the rest of its key. What was claimed before its run goes
to the durable timers, and the order of its key ends there, which the log says.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from taskq.app import App
from taskq.clock import Clock
from taskq.errors import TaskqError
from taskq.errortext import one_line
from taskq.protocols import Rebalance
from taskq.running.inplace import handed_on
from taskq.worker.deadletters import dead_letter
from taskq.worker.delivery import Delivery
from taskq.worker.keyorder import Held, KeyOrder
from taskq.worker.outbox import Entry, Outbox

logger = logging.getLogger(__name__)

_QUESTION_SECONDS = 2.0
"""For a question that only a log line needs; nothing is taken meanwhile."""

_KEY_CHARACTERS = 80
"""Of a key in a log line."""


class KeyedWork:
    """Of one intake; its thread calls it."""

    def __init__(
        self, queue: str, app: App, order: KeyOrder, outbox: Outbox, *, worker: str, clock: Clock
    ) -> None:
        """Prepare.

        Args:
            queue: The intake's.
            app: Its broker is asked.
            order: The intake's.
            outbox: Writes what is handed to the timers.
            worker: The worker's name, for dead letters.
            clock: For dead letters.
        """
        self._queue = queue
        self._app = app
        self._order = order
        self._outbox = outbox
        self._worker = worker
        self._clock = clock
        self._partitions = 0
        """How many the queue had when its first task with a key was seen, or at the last look; 0: nobody knows."""

        self._has_seen = False

        self._has_told_full = False

    # Letting go

    def hand_on(self, held: Iterable[Held]) -> None:
        """Write held tasks that were claimed before their run to the timers."""
        entries = [self._handed_on(each) for each in held if not each.delivery.late]
        if entries:
            self._outbox.put(entries)

    def _handed_on(self, held: Held) -> Entry:
        delivery = held.delivery
        logger.warning(
            "%s waits for its next run among the timers, because its worker stops: the others of its key %s may pass it",
            delivery,
            key_text(delivery),
            extra={"event": "task.order_ended", "key": key_text(delivery), **delivery.fields},
        )

        def letter(why: str) -> Entry:
            record = dead_letter(
                delivery.record,
                delivery.envelope,
                reason="failed",
                error=one_line(f"its retry may not have been written: {why}"),
                has_run=False,
                worker=self._worker,
                now=self._clock.now(),
            )
            return Entry(record, f"the dead letter of {delivery}", fields=delivery.fields)

        what = handed_on(delivery.record, delivery.envelope, due_ms=held.due_ms)
        return Entry(what, f"{delivery}: its retry", letter, letter, fields=delivery.fields)

    # Saying

    def say_full(self, hand: Sequence[Delivery]) -> None:
        """Say that the queue waits, because the hand is full of tasks whose keys are busy: once, until `empty`."""
        waiting = Counter(each.key for each in hand if each.key is not None)
        if self._has_told_full or not waiting:
            return
        self._has_told_full = True
        key, count = waiting.most_common(1)[0]
        why = "as many wait for retries as may" if self._order.is_full else "at work"
        example = next(each for each in hand if each.key == key)
        logger.warning(
            "queue %s waits with %d tasks whose keys are busy (%s), %d of them of the key %s, such as %s; what stands behind "
            "them waits, too",
            self._queue,
            sum(waiting.values()),
            why,
            count,
            key_text(example),
            example.task,
            extra={
                "event": "intake.key_busy",
                "queue": self._queue,
                "key": key_text(example),
                "task": example.task,
            },
        )

    def empty(self) -> None:
        """Note that nothing waits in hand any more."""
        self._has_told_full = False

    def see(self) -> None:
        """Note that there are tasks with a key: the number of partitions is watched from now on."""
        if not self._has_seen:
            self._has_seen = True
            self._partitions = self._ask_partitions()

    def look_at(self, events: Sequence[Rebalance]) -> None:
        """Look at what a rebalance means for the order of keys, and say it."""
        gone = {
            number for event in events if event.kind != "assigned" for number in event.partitions
        }
        self._order.forget_awaited({number for event in events for number in event.partitions})
        for delivery in self._order.busy_of(gone):
            if not delivery.late:  # else another line says that it runs again
                logger.warning(
                    "%s is not finished, and its partition has gone: others of its key %s may pass it",
                    delivery,
                    key_text(delivery),
                    extra={
                        "event": "task.order_ended",
                        "key": key_text(delivery),
                        **delivery.fields,
                    },
                )
        if self._partitions:
            self._look_for_more()

    def _look_for_more(self) -> None:
        before, now = self._partitions, self._ask_partitions()
        if now <= before:
            return
        self._partitions = now
        logger.warning(
            "queue %s has %d partitions now, and had %d: keys have moved to other partitions, so tasks that were sent before that "
            "and after it may run in any order, and two of a key at a time",
            self._queue,
            now,
            before,
            extra={"event": "intake.partitions_added", "queue": self._queue},
        )

    def _ask_partitions(self) -> int:
        broker = self._app.broker
        try:
            with broker.errors():
                counts = broker.admin.partition_counts([self._queue], timeout=_QUESTION_SECONDS)
        except TaskqError:
            logger.debug("queue %s: no answer how many partitions it has", self._queue)
            return 0
        return counts.get(self._queue, 0)


def key_text(delivery: Delivery) -> str:
    """Return a key as the log shows it."""
    text = (delivery.key or b"").decode(errors="backslashreplace")
    return repr(text if len(text) <= _KEY_CHARACTERS else f"{text[:_KEY_CHARACTERS]}…")
