"""`taskq queues`: what waits, for how long, and who takes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json, print_table

_COLUMNS = ("queue", "partitions", "lag", "oldest_age", "workers")


@click.command(cls=TaskqCommand, data=True)
@pass_invocation
def queues(invocation: Invocation) -> None:
    """Print the queues: how many tasks wait, the age of the oldest, and how many workers listen."""
    app = invocation.app()
    timeout, group = app.settings.connect_timeout, app.settings.group
    try:
        app.broker.check()
        with app.broker.errors():
            admin = app.broker.admin
            names = admin.queues(timeout=timeout)
            found = admin.queue_status(names, group=group, timeout=timeout)
    finally:
        app.close()
    rows = [{column: asdict(status)[column] for column in _COLUMNS} for status in found]
    if invocation.json:
        print_json(rows)
    else:
        print_table([{**row, "oldest_age": _age(row["oldest_age"])} for row in rows], _COLUMNS)


def _age(seconds: Any) -> str | None:
    """Return an age as people read it, in its two largest units."""
    if seconds is None:
        return None
    whole = max(0, int(seconds))
    for size, unit, smaller, smaller_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit} {rest}{smaller_unit}"
    return f"{whole}s"
