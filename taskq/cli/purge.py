"""`taskq purge`: delete what waits in a queue."""

from __future__ import annotations

import click

from taskq.cli.asking import admin_of, confirm, require_queue
from taskq.cli.completion import complete_queue
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json
from taskq.printing import counted
from taskq.queues import check_queue
from taskq.queuetotals import totals
from taskq_kafka.steps import sources_of


@click.command(cls=TaskqCommand, data=True)
@click.argument("queue", shell_complete=complete_queue)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def purge(invocation: Invocation, queue: str, yes: bool) -> None:
    """Delete all tasks that wait in QUEUE, of all priorities, for every consumer group; they cannot be had back.

    A worker that is running still runs what it had fetched before: up to a megabyte of records for each queue.
    Dead letters stay.
    """
    app = invocation.app()
    check_queue(queue, prefix=app.settings.prefix)
    timeout, group = app.settings.connect_timeout, app.settings.group
    with admin_of(app) as admin:
        require_queue(app, admin, queue)
        sources = [each for each in admin.sources(timeout=timeout) if each in sources_of(queue)]
        [status] = totals(admin.queue_status(sources, group=group, timeout=timeout))
        if not yes:
            waiting = counted(status.lag, "waiting task")
            confirm(
                f"Delete {waiting} of queue {queue}, for good?",
                asks="purge asks before it deletes",
                nothing="nothing was deleted",
            )
        deleted = admin.purge(queue, group=group, timeout=timeout)
    if invocation.json:
        print_json({"queue": queue, "deleted": deleted})
    else:
        click.echo(f"deleted {counted(deleted, 'waiting task')} of queue {queue}")
    if status.workers:
        listening = counted(status.workers, "worker")
        click.echo(
            f"taskq: {listening} took from the queue: what they had fetched by now, they still run",
            err=True,
        )
