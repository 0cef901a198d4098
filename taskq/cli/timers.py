"""`taskq timers`: tasks that wait for their time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from taskq.cli.asking import admin_of
from taskq.cli.groups import TaskqGroup
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json, print_table
from taskq.cli.timekeeping import START_ONE, is_time_kept, overdue_seconds
from taskq.instants import write_instant
from taskq.printing import age, counted, escaped
from taskq.timing.timers import LOG, instant_of
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
    """Print the tasks that wait for their time, the next due first, and how many wait by task.

    One whose time came more than 10 seconds ago is marked as overdue.
    """
    app = invocation.app()
    with admin_of(app):
        records = app.broker.logs.read(LOG, timeout=app.settings.connect_timeout)
        waiting = read_waiting(records)
        is_kept = not waiting.timers or is_time_kept(app)
    if invocation.json:
        print_json([_row(timer) for timer in waiting.timers[:limit]])
    else:
        print_table([_line(timer) for timer in waiting.timers[: limit or _SHOWN]], _COLUMNS)
    click.echo(f"taskq: {escaped(_counts(waiting))}", err=True)
    if waiting.timers:
        _say_late(waiting.timers[0], is_kept=is_kept)


def write_due(milliseconds: int) -> str:
    """Return an instant in milliseconds since 1970 as text."""
    return write_instant(instant_of(milliseconds))


def _row(timer: WaitingTimer) -> dict[str, Any]:
    return {
        "id": timer.id,
        "task": timer.task or None,
        "queue": timer.queue,
        "due": write_due(timer.due_ms),
        "overdue": overdue_seconds(timer.due_ms),
    }


def _line(timer: WaitingTimer) -> dict[str, Any]:
    """Return a row for people: one that is overdue is marked."""
    row = _row(timer)
    if row["overdue"] is not None:
        row["due"] += f" (overdue {age(row['overdue'])})"
    return row


def _say_late(first: WaitingTimer, *, is_kept: bool) -> None:
    """Say what nobody sends, or what comes too late though somebody keeps the time."""
    overdue = overdue_seconds(first.due_ms)
    late = "" if overdue is None else f"the first is {age(overdue)} overdue; "
    if not is_kept:
        click.echo(f"taskq: {late}{START_ONE}", err=True)
    elif late:
        click.echo(
            f"taskq: {late}a process keeps the time: see its log, and 'taskq doctor'", err=True
        )


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
