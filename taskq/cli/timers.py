"""`taskq timers`: tasks that wait for their time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from taskq.cli.asking import admin_of
from taskq.cli.groups import TaskqGroup
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json, print_table
from taskq.instants import write_instant
from taskq.printing import counted, escaped
from taskq.timers import LOG, instant_of
from taskq.waiting import Waiting, WaitingTimer, read_waiting

_COLUMNS = ("due", "id", "task", "queue")

_SHOWN = 50
"""Rows of a table, unless more are asked for: a million may wait."""

_TASKS = 10
"""Tasks in the line that counts."""


@click.group(cls=TaskqGroup)
def timers() -> None:
    """Look at tasks that wait for their time: by countdown, eta or retry."""


@timers.command("list", cls=TaskqCommand, data=True)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Print the next N only; without it a table has {_SHOWN}, and --json all.",
)
@pass_invocation
def list_(invocation: Invocation, limit: int | None) -> None:
    """Print the tasks that wait for their time, the next due first, and how many wait by task."""
    app = invocation.app()
    with admin_of(app):
        records = app.broker.logs.read(LOG, timeout=app.settings.connect_timeout)
        waiting = read_waiting(records)
    if invocation.json:
        print_json([_row(timer) for timer in waiting.timers[:limit]])
    else:
        print_table([_row(timer) for timer in waiting.timers[: limit or _SHOWN]], _COLUMNS)
    click.echo(f"taskq: {escaped(_counts(waiting))}", err=True)


def write_due(milliseconds: int) -> str:
    """Return an instant in milliseconds since 1970 as text."""
    return write_instant(instant_of(milliseconds))


def _row(timer: WaitingTimer) -> dict[str, Any]:
    return {
        "id": timer.id,
        "task": timer.task or None,
        "queue": timer.queue,
        "due": write_due(timer.due_ms),
    }


def _counts(waiting: Waiting) -> str:
    """Return how many wait, in words: the tasks with the most first."""
    if not waiting.timers and not waiting.unread:
        return "no task waits for its time"
    tasks = Counter(timer.task or "?" for timer in waiting.timers)
    parts = [f"{name} {count}" for name, count in tasks.most_common(_TASKS)]
    if len(tasks) > _TASKS:
        parts.append(f"{len(tasks) - _TASKS} other tasks")
    if waiting.unread:
        parts.append(f"{waiting.unread} that cannot be read here")
    total = counted(len(waiting.timers) + waiting.unread, "task")
    waits = "waits" if total.startswith("1 ") else "wait"
    return f"{total} {waits}: {', '.join(parts)}"
