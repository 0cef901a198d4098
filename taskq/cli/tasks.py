"""`taskq tasks`: what the app can run."""

from __future__ import annotations

import click

from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_rows


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
        click.echo("taskq: the app has no tasks; name its module with -A", err=True)
    print_rows(rows, ("name", "aliases", "queue", "module"), as_json=invocation.json)
