"""The log line of a task that was revoked: all of them are made here, whoever met it."""

from __future__ import annotations

import logging

from taskq.message import Envelope
from taskq.protocols import Record
from taskq.running.runresult import Result
from taskq.worker.delivery import Delivery, task_fields

logger = logging.getLogger(__name__)


def say_not_run(envelope: Envelope, record: Record) -> None:
    """Say that a revoked task was met and is not run."""
    logger.info(
        "task %s[%s] was revoked; it is not run",
        envelope.task,
        envelope.id,
        extra={
            "event": "task.revoked",
            "terminated": False,
            **task_fields(envelope.task, envelope.id, record),
        },
    )


def say_revoked(delivery: Delivery, result: Result) -> None:
    """Say what became of a delivery that was revoked after its claim.

    Args:
        delivery: Which.
        result: A `REVOKED` one.
    """
    _, runtime, _, detail = result
    how = str(detail[1]) if detail is not None else ""
    if not how:
        say_not_run(delivery.envelope, delivery.record)
        return
    logger.info(
        "task %s[%s] was revoked and ended after %.3fs: %s",
        delivery.task,
        delivery.envelope.id,
        runtime,
        how,
        extra={
            "event": "task.revoked",
            "terminated": True,
            "runtime": round(runtime, 6),
            **delivery.fields,
        },
    )
