"""`taskq dlq`: look at dead letters. Moving them is in dlqmoves.py."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import click

from taskq.app import App
from taskq.attempts import HEADER, instant_text
from taskq.cli.asking import admin_of, require_letters
from taskq.cli.completion import complete_queue
from taskq.cli.groups import Entry, TaskqGroup
from taskq.cli.letterfilters import filter_options, read_selection
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json, print_rows
from taskq.errors import TaskqError
from taskq.instants import read_instant
from taskq.letters.deadletters import DeadLetterView, read_dead_letter, source_queue
from taskq.letters.redrive import counts
from taskq.printing import counted, escaped
from taskq.protocols import Admin
from taskq.queues import check_letters

_COLUMNS = ("id", "task", "queue", "reason", "error", "attempts", "failed_at", "source")
_LAYOUT = "\n\t"
_ROWS = 50  # of a table, unless more are asked for: hundreds tell a person no more, and --count tells how many
_SHORT = 160  # characters of a value that is read at one glance, in one line
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)
_LISTED = ("id", "task", "queue", "reason", "attempts", "failed_at", "error")
_SHOWN = frozenset({"id", "task", "reason", "error", "attempts", "failed"})  # by columns
_COUNTED = ("queue", "task", "reason", "count")

_MOVES = {
    "discard": Entry("taskq.cli.dlqmoves:discard", "Take dead letters out, for good."),
    "redrive": Entry("taskq.cli.dlqmoves:redrive", "Send dead letters back to their queue."),
}


@click.group(cls=TaskqGroup, lazy=_MOVES)
def dlq() -> None:
    """Look at dead letters: tasks that failed for good, or could not be run; send them again, or discard them."""


@dlq.command("list", cls=TaskqCommand, data=True)
@click.argument("queue", required=False, shell_complete=complete_queue)
@filter_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Only the newest N; without it a table has {_ROWS}, and --json all.",
)
@click.option("--count", "is_count", is_flag=True, help="Count them by queue, task and reason.")
@pass_invocation
def list_(
    invocation: Invocation,
    /,
    queue: str | None,
    limit: int | None,
    is_count: bool,
    **filters: Any,
) -> None:
    """Print the newest dead letters of QUEUE, or of all queues; the oldest of them first. Of several filters all must fit."""
    if is_count and limit is not None:
        raise click.UsageError("--count counts all of them: it takes no --limit")
    selection = read_selection(**filters)
    app = invocation.app()
    with admin_of(app) as admin:
        timeout = app.settings.connect_timeout
        queues = _queues(app, admin, queue)
        all_views = list(_views(admin, queues, timeout))
        if queue is not None and not all_views:
            click.echo(f"taskq: no dead letters of queue {queue!r}", err=True)
    views = [view for view in all_views if selection.takes(view)]
    _say_more(all_views, views, near=selection.near_miss(all_views))
    if is_count:
        rows = [dict(zip(_COUNTED, row, strict=True)) for row in counts(views)]
        print_rows(rows, _COUNTED, as_json=invocation.json)
        return
    most = limit or (len(views) if invocation.json else _ROWS)
    shown = views if len(views) <= most else _newest(views, most)
    columns = _COLUMNS if invocation.json else _LISTED
    print_rows([_row(view) for view in shown], columns, as_json=invocation.json)
    if len(views) > most:
        hint = "" if limit else "; --limit N prints more, --count counts them"
        click.echo(f"taskq: the newest {most:,} of {len(views):,}{hint}", err=True)


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
        queues = _queues(app, admin, queue)
        found = _find(admin, queues, id, app.settings.connect_timeout)
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


def _say_more(
    all_views: list[DeadLetterView],
    views: list[DeadLetterView],
    *,
    near: str | None,
) -> None:
    """Say what the table does not: that nothing fits, that some cannot be read in full."""
    if all_views and not views:
        hint = f"; did you mean {near!r}?" if near else ""
        click.echo(f"taskq: none of {counted(len(all_views), 'dead letter')} fits{hint}", err=True)
    newer = sum(view.is_newer for view in views)
    if newer:
        click.echo(f"taskq: {newer:,} were written by a newer taskq; they may say more", err=True)


def _newest(views: list[DeadLetterView], limit: int) -> list[DeadLetterView]:
    """Return the newest of letters of several queues, in the order in which they stand."""
    latest = sorted(views, key=lambda view: view.written_at or _LONG_AGO)[-limit:]
    kept = {view.source for view in latest}
    return [view for view in views if view.source in kept]


def _queues(app: App, admin: Admin, queue: str | None) -> list[str]:
    """Return the one that is named, which exists, or all that have dead letters."""
    if queue is None:
        return list(admin.dead_letter_queues(timeout=app.settings.connect_timeout))
    check_letters(queue, prefix=app.settings.prefix)
    require_letters(app, admin, queue)
    return [queue]


def _views(admin: Admin, queues: Iterable[str], timeout: float) -> Iterator[DeadLetterView]:
    for queue in queues:
        for letter in admin.dead_letters(queue, timeout=timeout):
            yield read_dead_letter(letter)


def _find(admin: Admin, queues: list[str], id: str, timeout: float) -> list[DeadLetterView]:
    """Return the dead letters of an id, the latest last; look first where a source's form points to."""
    named = source_queue(id)
    if len(queues) > 1 and named in queues:
        found = [view for view in _views(admin, [named], timeout) if id in (view.id, view.source)]
        if found:
            return found
    return [view for view in _views(admin, queues, timeout) if id in (view.id, view.source)]


def _row(view: DeadLetterView) -> dict[str, Any]:
    return {**{column: getattr(view, column) for column in _COLUMNS}, "failed_at": _failed_at(view)}


def _failed_at(view: DeadLetterView) -> str | None:
    """Return when it failed in the form that all outputs have; what other programs wrote that is no time, as it is."""
    try:
        return instant_text(read_instant(view.failed_at or ""))
    except ValueError:
        return view.failed_at


def _document(view: DeadLetterView) -> dict[str, Any]:
    document = {**_row(view), "traceback": view.traceback, "details": dict(view.details)}
    document["redriven"] = view.redriven
    document["earlier"] = [asdict(attempt) for attempt in view.earlier]
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
        is_shown = name in _SHOWN or (name == "first-failed" and text == view.failed_at)
        if not is_shown:
            click.echo(escaped(f"{name}: {text}"))
    count = (view.attempts or 0) - len(view.earlier)
    for number, attempt in enumerate(view.earlier, max(1, count)):
        click.echo(escaped(f"attempt {number}: {attempt.at} on {attempt.worker}: {attempt.error}"))
    for name, text in view.headers.items():
        if name == HEADER and view.earlier:
            continue  # just shown
        click.echo(escaped(f"header {name}: {text}"))
    click.echo(f"value: {escaped(_readable(view.value), keep=_LAYOUT)}")
    if view.traceback:
        click.echo(f"\n{escaped(view.traceback.rstrip(), keep=_LAYOUT)}")


def _readable(value: bytes | None) -> str:
    """Return a value for people: JSON in lines, unless it is short."""
    if value is None:
        return "(none)"
    text = value.decode(errors="backslashreplace")
    if len(text) <= _SHORT:
        return text
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
