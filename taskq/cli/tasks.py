"""`taskq tasks`: what the app can run."""

from __future__ import annotations

import click

from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_rows
from taskq.registry import NO_TASKS


@click.command(cls=TaskqCommand, data=True)
@pass_invocation
def tasks(invocation: Invocation) -> None:
    """Print the tasks of the app, with their aliases, queues and modules."""
    rows = [
        {
            "name": task.name,
            "aliases": list(task.aliases),
            "queue": task.queue,
            "module": task.module,
        }
        for task in invocation.app().registry
    ]
    if not rows:
        click.echo(f"taskq: {NO_TASKS}", err=True)
    print_rows(rows, ("name", "aliases", "queue", "module"), as_json=invocation.json)
