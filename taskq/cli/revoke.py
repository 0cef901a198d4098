"""`taskq revoke`: have tasks not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from taskq.app import App
from taskq.cli.asking import admin_of
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json
from taskq.cli.timers import write_due
from taskq.printing import escaped
from taskq.revocation import check_id
from taskq.timers import LOG
from taskq.waiting import WaitingTimer, read_waiting


@click.command(cls=TaskqCommand, data=True)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@pass_invocation
def revoke(invocation: Invocation, ids: Sequence[str]) -> None:
    """Have the tasks with these ids not run: cancel their timers, and tell the workers.

    Kept for a day, also for workers that start later. A task that a worker has claimed is not stopped. An id may be
    one that nobody has sent yet, such as a schedule's NAMESPACE/ID@TIME.
    """
    app = invocation.app()
    ids = list(dict.fromkeys(check_id(id) for id in ids))
    with admin_of(app):
        timers = {id: _timers(app, id) for id in ids}
        app.revoke(*ids)
    if invocation.json:
        print_json([_document(id, timers[id]) for id in ids])
        return
    for id in ids:
        click.echo(escaped(f"revoked {id}: {_meaning(timers[id])}"))
    if not all(timers.values()):
        click.echo(
            "taskq: workers that have not claimed it will not run it for a day; whether it ran already, or exists, "
            "'taskq find ID' may tell",
            err=True,
        )


def _timers(app: App, id: str) -> list[WaitingTimer]:
    records = app.broker.logs.read(LOG, route=id.encode(), timeout=app.settings.connect_timeout)
    return read_waiting(records).of(id)


def _document(id: str, timers: Sequence[WaitingTimer]) -> dict[str, Any]:
    return {"id": id, "due": [write_due(timer.due_ms) for timer in timers]}


def _meaning(timers: Sequence[WaitingTimer]) -> str:
    if not timers:
        return "no timer of it waits"
    due = ", ".join(write_due(timer.due_ms) for timer in timers)
    return f"it waited until {due}, which is cancelled"
