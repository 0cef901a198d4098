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
from taskq.timing.revocation import check_id
from taskq.timing.timers import LOG
from taskq.waiting import WaitingTimer, read_waiting


@click.command(cls=TaskqCommand, data=True)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--terminate",
    is_flag=True,
    help="End them, too, if they run: a pool process is killed, threads and coroutines get an exception.",
)
@pass_invocation
def revoke(invocation: Invocation, ids: Sequence[str], *, terminate: bool) -> None:
    """Have the tasks with these ids not run: cancel their timers, and tell the workers.

    Kept for a day, also for workers that start later. A task that runs goes on, unless --terminate is given. An id may
    be one that nobody has sent yet, such as a schedule's NAMESPACE/ID@TIME.
    """
    app = invocation.app()
    ids = list(dict.fromkeys(check_id(id) for id in ids))
    with admin_of(app):
        timers = {id: _timers(app, id) for id in ids}
        app.revoke(*ids, terminate=terminate)
    if invocation.json:
        print_json([_document(id, timers[id], terminate=terminate) for id in ids])
        return
    for id in ids:
        click.echo(escaped(f"revoked {id}: {_meaning(timers[id], terminate=terminate)}"))
    if not all(timers.values()):
        click.echo(
            "taskq: no worker will begin it for a day; whether it ran already, or exists, 'taskq find ID' may tell",
            err=True,
        )


def _timers(app: App, id: str) -> list[WaitingTimer]:
    records = app.broker.logs.read(LOG, route=id.encode(), timeout=app.settings.connect_timeout)
    return read_waiting(records).of(id)


def _document(id: str, timers: Sequence[WaitingTimer], *, terminate: bool) -> dict[str, Any]:
    due = [write_due(timer.due_ms) for timer in timers]
    return {"id": id, "due": due, "terminate": terminate}


def _meaning(timers: Sequence[WaitingTimer], *, terminate: bool) -> str:
    if not timers:
        running = "; a worker that runs it ends it" if terminate else ""
        return f"no timer of it waits{running}"
    due = ", ".join(write_due(timer.due_ms) for timer in timers)
    return f"it waited until {due}, which is cancelled"
