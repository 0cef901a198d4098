"""The two processors of the original task manager, under the names its schedule file uses; each writes down when it was due."""

from __future__ import annotations

import os

from taskq import App, current_request
from tests.support.ledger import Ledger
from tests.support.waiting import pause

LEDGER = "ORIGINAL_LEDGER"
"""The variable that names the ledger's file."""

WORKER = "ORIGINAL_WORKER"
"""The variable with the worker's name, written into each line."""

GO = "github.com/darciopacifico/taskmanager/processor."

app = App("original")


def note(payload: object) -> None:
    """Write a line: the occurrence's id, and in the detail who ran it, when it was due, what it got."""
    request = current_request()
    assert request is not None
    due = request.scheduled_for
    detail = f"{os.environ[WORKER]} {due.isoformat() if due else ''} {payload}"
    Ledger(os.environ[LEDGER]).write(request.id, "ran", detail)


@app.task("invoice", queue="taskTopic", aliases=(f"{GO}InvoiceProcessor",))
def invoice(param: str, payload: object = None) -> None:
    """Process an invoice."""
    note(payload)


@app.task("birthday", queue="taskTopic", aliases=(f"{GO}BirthdayProcessor",))
def birthday(param: str, payload: object = None) -> None:
    """Process a birthday; it takes 200 ms, as in the original."""
    note(payload)
    pause(0.2)
