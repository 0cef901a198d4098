"""`taskq dlq`: look at dead letters."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import click

from taskq.cli.asking import admin_of
from taskq.cli.completion import complete_queue
from taskq.cli.groups import TaskqGroup
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json, print_rows
from taskq.deadletters import DeadLetterView, read_dead_letter, source_queue
from taskq.errors import TaskqError
from taskq.near import nearest
from taskq.printing import escaped
from taskq.protocols import Admin
from taskq.queues import check_queue

_COLUMNS = ("id", "task", "queue", "reason", "error", "attempts", "failed_at", "source")
_LAYOUT = "\n\t"
_LISTED = ("id", "task", "queue", "reason", "attempts", "failed_at", "error")


@click.group(cls=TaskqGroup)
def dlq() -> None:
    """Look at dead letters: tasks that failed for good, or could not be run."""


@dlq.command("list", cls=TaskqCommand, data=True)
@click.argument("queue", required=False, shell_complete=complete_queue)
@pass_invocation
def list_(invocation: Invocation, queue: str | None) -> None:
    """Print the dead letters of QUEUE, or of all queues; the oldest first."""
    app = invocation.app()
    with admin_of(app) as admin:
        timeout = app.settings.connect_timeout
        rows = [_row(view) for view in _views(admin, _queues(admin, queue, timeout), timeout)]
        if queue is not None and not rows:
            _say_none(admin, queue, timeout)
    columns = _COLUMNS if invocation.json else _LISTED
    print_rows(rows, columns, as_json=invocation.json)


@dlq.command(cls=TaskqCommand, data=True)
@click.argument("names", metavar="[QUEUE] ID", nargs=-1, required=True)
@pass_invocation
def show(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Print one dead letter in full. ID is the task's id, or QUEUE/PARTITION/OFFSET of its record."""
    if len(names) > 2:
        raise click.UsageError("dlq show takes [QUEUE] ID")
    *given, id = names
    queue = given[0] if given else None
    app = invocation.app()
    with admin_of(app) as admin:
        found = _find(admin, queue, id, app.settings.connect_timeout)
    if not found:
        place = f" of queue {queue!r}" if queue else ""
        raise TaskqError(f"no dead letter{place} has the id {id!r}; 'taskq dlq list' prints them")
    if len(found) > 1:
        others = ", ".join(view.source for view in found[:-1])
        click.echo(f"taskq: {id} is the latest of several; the others are {others}", err=True)
    if invocation.json:
        print_json(_document(found[-1]))
    else:
        _print(found[-1])


def _say_none(admin: Admin, queue: str, timeout: float) -> None:
    """Say that a queue has no dead letters, and if there is no such queue, which was probably meant."""
    known = {*admin.queues(timeout=timeout), *admin.dead_letter_queues(timeout=timeout)}
    near = None if queue in known else nearest(queue, known)
    absent = "" if queue in known else "; there is no such queue"
    hint = f"; did you mean {near!r}?" if near else ""
    click.echo(f"taskq: no dead letters of queue {queue!r}{absent}{hint}", err=True)


def _queues(admin: Admin, queue: str | None, timeout: float) -> list[str]:
    if queue is not None:
        return [check_queue(queue)]
    return list(admin.dead_letter_queues(timeout=timeout))


def _views(admin: Admin, queues: Iterable[str], timeout: float) -> Iterator[DeadLetterView]:
    for queue in queues:
        for letter in admin.dead_letters(queue, timeout=timeout):
            yield read_dead_letter(letter)


def _find(admin: Admin, queue: str | None, id: str, timeout: float) -> list[DeadLetterView]:
    """Return the dead letters of an id, the latest last; look first where a source's form points to."""
    queues = _queues(admin, queue, timeout)
    named = source_queue(id)
    if queue is None and named in queues:
        found = [view for view in _views(admin, [named], timeout) if id in (view.id, view.source)]
        if found:
            return found
    return [view for view in _views(admin, queues, timeout) if id in (view.id, view.source)]


def _row(view: DeadLetterView) -> dict[str, Any]:
    return {column: getattr(view, column) for column in _COLUMNS}


def _document(view: DeadLetterView) -> dict[str, Any]:
    document = {**_row(view), "traceback": view.traceback, "details": dict(view.details)}
    document["headers"] = dict(view.headers)
    if view.value is None:
        return {**document, "value": None}
    try:
        return {**document, "value": view.value.decode()}
    except UnicodeDecodeError:
        return {**document, "value_base64": base64.b64encode(view.value).decode()}


def _print(view: DeadLetterView) -> None:
    row = _row(view)
    for column in _COLUMNS:
        if row[column] is not None:
            click.echo(escaped(f"{column}: {row[column]}"))
    for name, text in view.details.items():
        if text not in map(str, row.values()):  # what a column shows already
            click.echo(escaped(f"{name}: {text}"))
    for name, text in view.headers.items():
        click.echo(escaped(f"header {name}: {text}"))
    value = "(none)" if view.value is None else view.value.decode(errors="backslashreplace")
    click.echo(f"value: {escaped(value, keep=_LAYOUT)}")
    if view.traceback:
        click.echo(f"\n{escaped(view.traceback.rstrip(), keep=_LAYOUT)}")
