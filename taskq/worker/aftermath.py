"""What follows when runs have ended: their log lines, their dead letters, the messages to be sent on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from taskq.clock import Clock
from taskq.executor import FAILED, SUCCEEDED, Result, one_line, wants_dead_letter
from taskq.logs import TASK_EVENTS, LogPlan, TaskLine, TaskLines, TaskLog, log_failure
from taskq.protocols import Outgoing
from taskq.registry import Registry
from taskq.worker.deadletters import dead_letter
from taskq.worker.delivery import Delivery
from taskq.worker.outbox import Entry, Outbox

logger = logging.getLogger(__name__)

_LEVELS = (logging.INFO, logging.INFO, logging.ERROR)
_NOT_RUN = frozenset({"bad_arguments", "unreadable", "unsupported", "unknown_task"})


class Aftermath:
    """Any thread may call it: each pool reports from its own."""

    def __init__(
        self, registry: Registry, outbox: Outbox, plan: LogPlan, *, worker: str, clock: Clock
    ) -> None:
        """Prepare.

        Args:
            registry: Knows which tasks want dead letters.
            outbox: Writes them.
            plan: How log lines are made.
            worker: The worker's name, for dead letters.
            clock: Says when a task failed.
        """
        self._registry = registry
        self._outbox = outbox
        self._lines = TaskLines(plan)
        self._log = TaskLog(plan)
        self._worker = worker
        self._clock = clock

    def conclude(self, results: Sequence[tuple[Delivery, Result]]) -> None:
        """Log results and hand what is to be written to the outbox."""
        lines: list[TaskLine] = []
        for delivery, result in results:
            kind, _, line, detail = result
            if detail is not None:
                line = self._try_to_conclude_more(delivery, result) or line
            if line is not None:
                lines.append((_LEVELS[kind], TASK_EVENTS[kind], line, delivery))
        self._log.write(lines)

    def _not_followed(self, delivery: Delivery, queue: str, why: str) -> Entry:
        error = f"it succeeded, but what was to follow it in queue {queue} cannot be sent: {why}"
        return self._letter(delivery, "failed", one_line(error), "")

    def _letter(self, delivery: Delivery, reason: str, error: str, traceback: str) -> Entry:
        letter = dead_letter(
            delivery.record,
            delivery.envelope,
            reason=reason,
            error=error,
            traceback=traceback,
            has_run=reason not in _NOT_RUN,
            worker=self._worker,
            now=self._clock.now(),
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
        kind, runtime, line, detail = result
        assert detail is not None
        reason, error, traceback, messages = detail
        entries = [
            Entry(
                Outgoing(queue, value, headers),
                f"what follows {delivery}, for queue {queue}",
                partial(self._not_followed, delivery, queue),
                delivery.fields,
            )
            for queue, value, headers in messages
        ]
        is_wanted = wants_dead_letter(reason, self._registry.get(delivery.task))
        if kind == FAILED and reason and is_wanted:
            entries.append(self._letter(delivery, reason, error, traceback))
        if entries:
            self._outbox.put(entries)
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
