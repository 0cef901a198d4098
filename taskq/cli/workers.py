"""`taskq workers`: who is in the workers' group, and what they hold."""

from __future__ import annotations

from typing import Any

import click

from taskq.cli.asking import admin_of
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json, print_table
from taskq.printing import runs
from taskq.protocols import GroupMember, GroupStatus

_COLUMNS = ("name", "host", "protocol", "queue", "partitions")


@click.command(cls=TaskqCommand, data=True)
@pass_invocation
def workers(invocation: Invocation) -> None:
    """Print the members of the workers' group. A worker is one member for each of its queues.

    One that holds no partition runs nothing: its queue has fewer partitions than members.
    """
    app = invocation.app()
    with admin_of(app) as admin:
        status = admin.group(app.settings.group, timeout=app.settings.connect_timeout)
    if not status.members:
        click.echo(f"taskq: {_nobody(status)}", err=True)
    if invocation.json:
        print_json([_document(member, status) for member in status.members])
    else:
        print_table([row for each in status.members for row in _rows(each, status)], _COLUMNS)


def _nobody(status: GroupStatus) -> str:
    if not status.is_told:
        return "this broker cannot tell the members of a group (an embedded one, as of 'taskq dev')"
    return f"no worker is in the group {status.group!r}; start one with 'taskq worker'"


def _document(member: GroupMember, status: GroupStatus) -> dict[str, Any]:
    return {
        "name": member.name,
        "host": member.host,
        "protocol": status.protocol,
        "queues": {queue: list(numbers) for queue, numbers in member.holds.items()},
        "member": member.id,
    }


def _rows(member: GroupMember, status: GroupStatus) -> list[dict[str, Any]]:
    one = {"name": member.name, "host": member.host, "protocol": status.protocol}
    if not member.holds:
        return [{**one, "queue": None, "partitions": "none"}]
    return [
        {**one, "queue": queue, "partitions": runs(numbers)}
        for queue, numbers in member.holds.items()
    ]
