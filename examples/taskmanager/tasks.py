"""The two task processors of the original task manager: each logs what it processes."""

import logging
import time

from taskq import task

logger = logging.getLogger(__name__)

ORIGINAL = "github.com/darciopacifico/taskmanager/processor."
"""The Go package of the original: the schedule file still names the tasks by its types."""


@task("invoice", queue="taskTopic", aliases=(f"{ORIGINAL}InvoiceProcessor",))
def invoice(param: str | None = None, payload: object = None) -> None:
    """Process an invoice."""
    logger.info("processing invoice: param %r, payload %r", param, payload)


@task("birthday", queue="taskTopic", aliases=(f"{ORIGINAL}BirthdayProcessor",))
def birthday(param: str | None = None, payload: object = None) -> None:
    """Process a birthday; it takes 200 ms, as in the original."""
    logger.info("processing birthday: param %r, payload %r", param, payload)
    time.sleep(0.2)
