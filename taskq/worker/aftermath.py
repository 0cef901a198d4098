"""What follows when runs have ended: their log lines, retries, dead letters, the messages to be sent on, their acks.

A task that settles late is acknowledged when all that follows from its end is: that is one place, `_write`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from random import random
from typing import cast

from taskq.attempts import Attempt, Attempts, instant_text
from taskq.clock import Clock
from taskq.errortext import one_line
from taskq.logs import TASK_EVENTS, LogPlan, TaskLine, TaskLines, TaskLog, log_failure
from taskq.message import JSON_ONLY, Formats, read_headers
from taskq.protocols import Outgoing
from taskq.registry import Registry
from taskq.running.inplace import requeued_in_place, retried_in_place
from taskq.running.keyhold import KEY_HOLD
from taskq.running.returning import requeued, retried
from taskq.running.runresult import (
    FAILED,
    REQUEUED,
    RETRIED,
    REVOKED,
    SUCCEEDED,
    Detail,
    Result,
    Return,
    wants_dead_letter,
)
from taskq.worker.counts import Counts
from taskq.worker.deadletters import dead_letter
from taskq.worker.deaths import Deaths
from taskq.worker.delivery import Acks, Delivery
from taskq.worker.outbox import Entry, Outbox
from taskq.worker.overruns import after_overrun, is_overrun
from taskq.worker.revoked import say_revoked

logger = logging.getLogger(__name__)

_LEVELS = (logging.INFO, logging.INFO, logging.ERROR, logging.WARNING, logging.WARNING)
_OUTCOMES = ("succeeded", "ignored", "failed", "retried", "requeued", "revoked")
"""Names of the ends of runs, in the order of their numbers."""

_NOT_RUN = frozenset({"bad_arguments", "unreadable", "unsupported", "unknown_task"})


class Aftermath:
    """Any thread may call it: each pool reports from its own."""

    def __init__(
        self,
        registry: Registry,
        outbox: Outbox,
        plan: LogPlan,
        *,
        worker: str,
        clock: Clock,
        formats: Formats = JSON_ONLY,
        key_hold: float = KEY_HOLD,
    ) -> None:
        """Prepare.

        Args:
            registry: Knows which tasks want dead letters.
            outbox: Writes them.
            plan: How log lines are made.
            worker: The worker's name, for dead letters.
            clock: Says when a task failed.
            formats: What may be read.
            key_hold: Seconds that a task with a key may hold up the others of its key.
        """
        self._formats = formats
        self._key_hold = key_hold
        self._registry = registry
        self._outbox = outbox
        self._lines = TaskLines(plan)
        self._log = TaskLog(plan)
        self._worker = worker
        self._clock = clock
        self._deaths = Deaths()
        self.ended = Counts()
        """Ends of runs, by task and outcome."""

        self.letters = Counts()
        """Dead letters that were made, by queue and reason."""

    def conclude(self, results: Sequence[tuple[Delivery, Result]]) -> None:
        """Log results and hand what is to be written to the outbox."""
        lines: list[TaskLine] = []
        ended: dict[Acks, list[Delivery]] = {}
        counts = self.ended.mine()
        for delivery, result in results:
            if is_overrun(result) and not delivery.is_void:
                result = self._asked_for_retry(delivery, result)
            kind, _, line, detail = result
            if delivery.is_void:
                _say_void(delivery)
            elif detail is not None:
                line = self._try_to_conclude_more(delivery, result) or line
            else:
                labels = (delivery.task, _OUTCOMES[kind])
                counts[labels] = counts.get(labels, 0) + 1
                if delivery.acks is not None:
                    ended.setdefault(delivery.acks, []).append(delivery)
                    if self._deaths:
                        self._deaths.forget(delivery.record)
            if line is not None:
                lines.append((_LEVELS[kind], TASK_EVENTS[kind], line, delivery))
        for acks, deliveries in ended.items():
            acks.ack(deliveries)
        self._log.write(lines)

    def _asked_for_retry(self, delivery: Delivery, result: Result) -> Result:
        found = self._registry.get(delivery.task)
        if found is None:
            return result
        now, dice = self._clock.now(), random()
        return after_overrun(
            *(found, delivery, result),
            lines=self._lines,
            now=now,
            dice=dice,
            key_hold=self._key_hold,
        )

    def _not_followed(self, delivery: Delivery, queue: str, why: str) -> Entry:
        error = f"it succeeded, but what was to follow it in queue {queue} cannot be sent: {why}"
        return self._letter(delivery, "failed", one_line(error), "")

    def _hold(self, delivery: Delivery, kind: int, detail: Return) -> bool:
        """Have a task with a key run again in its place; return False if it is not to."""
        order, acks = delivery.order, delivery.acks
        if order is None:
            return False
        due_ms, error, _ = detail
        now = self._clock.now()
        if kind == REQUEUED:
            record = requeued_in_place(delivery.record, delivery.envelope, now=now)
        else:
            attempt = Attempt(instant_text(now), error, self._worker)
            record = retried_in_place(delivery.record, delivery.envelope, attempt=attempt, now=now)
        again = delivery.again(record, read_headers(record, self._formats))
        if acks is not None and not acks.go_on(delivery, again):
            _say_void(delivery)
            return True
        wait = max(0.0, due_ms / 1000 - self._clock.time()) if due_ms else 0.0
        due = self._clock.monotonic() + wait
        if order.hold(delivery, again, due=due, due_ms=due_ms):
            return True
        if acks is not None:
            acks.go_on(again, delivery)
        return False

    def _return(self, delivery: Delivery, kind: int, detail: Return) -> Entry:
        """Return what is to be written for a task that is to run again."""
        due_ms, error, traceback = detail
        record, envelope = delivery.record, delivery.envelope
        deaths = self._deaths.of(record)
        if kind == REQUEUED:
            what = requeued(record, envelope, due_ms=due_ms)
            reason, name = "rejected", "its way back to its queue"
        else:
            attempt = Attempt(instant_text(self._clock.now()), error, self._worker)
            what = retried(record, envelope, due_ms=due_ms, attempt=attempt, deaths=deaths.last)
            reason, name = "failed", "its retry"

        def letter(how: str, why: str) -> Entry:
            text = one_line(f"{error}; {name} {how}: {why}")
            return self._letter(delivery, reason, text, traceback, deaths)

        return Entry(
            what,
            f"{delivery}: {name}",
            partial(letter, "cannot be written"),
            partial(letter, "may or may not have been written"),
            fields=delivery.fields,
        )

    def _letter(
        self,
        delivery: Delivery,
        reason: str,
        error: str,
        traceback: str,
        deaths: Attempts | None = None,
    ) -> Entry:
        self.letters.add((delivery.record.queue, reason))
        letter = dead_letter(
            delivery.record,
            delivery.envelope,
            reason=reason,
            error=error,
            traceback=traceback,
            has_run=reason not in _NOT_RUN,
            worker=self._worker,
            now=self._clock.now(),
            deaths=self._deaths.of(delivery.record) if deaths is None else deaths,
        )
        return Entry(letter, f"the dead letter of {delivery}", fields=delivery.fields)

    def _try_to_conclude_more(self, delivery: Delivery, result: Result) -> str | None:
        try:
            return self._conclude_more(delivery, result)
        except Exception:  # noqa: BLE001 - the door of one result: the others' dead letters must not go with it
            log_failure(
                logger,
                "lost: what follows %s cannot be written",
                delivery,
                extra={"event": "task.unconcluded"},
            )
            return None

    def _conclude_more(self, delivery: Delivery, result: Result) -> str | None:
        kind, runtime, line, more = result
        if self._is_delivered_again(delivery, result):
            self.ended.add((delivery.task, "died"))
            return None
        self.ended.add((delivery.task, _OUTCOMES[kind]))
        if kind in (RETRIED, REQUEUED):
            if not self._hold(delivery, kind, cast(Return, more)):
                self._write(delivery, [self._return(delivery, kind, cast(Return, more))])
            return line
        if kind == REVOKED:
            say_revoked(delivery, result)
            self._write(delivery, [])
            return None
        reason, error, traceback, messages = cast(Detail, more)
        found = self._registry.get(delivery.task)
        entries = [
            Entry(
                Outgoing(queue, value, headers),
                f"what follows {delivery}, for queue {queue}",
                partial(self._not_followed, delivery, queue),
                fields=delivery.fields,
            )
            for queue, value, headers in messages
        ]
        is_wanted = wants_dead_letter(reason, found)
        if kind == FAILED and reason and is_wanted:
            entries.append(self._letter(delivery, reason, error, traceback))
        self._write(delivery, entries)
        if line is not None or kind == SUCCEEDED:
            return line
        then = (
            f"dead letter: taskq dlq show {delivery.source}"
            if is_wanted
            else "no dead letter is wanted"
        )
        return self._lines.failed(
            delivery.task, delivery.envelope.id, delivery.record, runtime, error, then, traceback
        )

    def _is_delivered_again(self, delivery: Delivery, result: Result) -> bool:
        """Have a task run again whose process died, if it may; return whether it does."""
        kind, acks, found = result[0], delivery.acks, self._registry.get(delivery.task)
        if kind != FAILED or acks is None or found is None:
            return False
        reason, error, _, _ = cast(Detail, result[3])
        deaths = delivery.record.deaths + 1
        if reason != "worker_died" or deaths >= found.max_deliveries:
            return False
        _say_delivered_again(delivery, error, deaths, found.max_deliveries)
        died = Attempt(instant_text(self._clock.now()), error, self._worker)
        self._deaths.note(delivery.record, died)
        self._deliver_again(delivery, acks)
        return True

    def _deliver_again(self, delivery: Delivery, acks: Acks) -> None:
        order = delivery.order
        if order is not None:  # first: nothing of its key may start before it has come again
            order.await_again((delivery,))
        if not acks.died(delivery) and order is not None:
            order.forget(delivery)

    def _write(self, delivery: Delivery, entries: Sequence[Entry]) -> None:
        """Have all that follows from an end written, and acknowledge the delivery behind it."""
        acks = delivery.acks
        if self._deaths:
            self._deaths.forget(delivery.record)
        if entries:
            self._outbox.put(entries, None if acks is None else partial(acks.ack, (delivery,)))
        elif acks is not None:
            acks.ack((delivery,))


def _say_void(delivery: Delivery) -> None:
    logger.warning(
        "%s has ended after its partition had gone to another worker, where it runs again: nothing of it is settled here",
        delivery,
        extra={"event": "task.void", **delivery.fields},
    )


def _say_delivered_again(delivery: Delivery, error: str, deaths: int, limit: int) -> None:
    logger.error(
        "%s: %s; it is delivered again (%d of %d such deaths)",
        delivery,
        error,
        deaths,
        limit,
        extra={"event": "task.delivered_again", "deaths": deaths, **delivery.fields},
    )
