"""`taskq schedule list`, `history`, `pause`, `resume`, `trigger`: the schedules that beats have loaded."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import click

from taskq.app import App
from taskq.cli.asking import hidden_end, logs_of
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json, print_rows
from taskq.cli.timekeeping import has_beat
from taskq.clock import SystemClock
from taskq.errors import PublishFailed, TaskqError, UsageError
from taskq.instants import write_instant, write_seconds
from taskq.scheduling.duemessages import message_of
from taskq.scheduling.occurrences import Occurrence, delay_of
from taskq.scheduling.schedulelog import (
    LOG,
    Part,
    Pause,
    Shelf,
    Stored,
    read_shelf,
    read_shelves,
    write_of,
)
from taskq.scheduling.scheduleview import ScheduleView, find_stored, fired_of, views
from taskq.timing.shards import Logs
from taskq_kafka.steps import queue_of_source

_LISTED = ("schedule", "state", "task", "last", "next", "lateness", "words")
_FIRED = ("id", "planned", "sent", "lateness")

namespace_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--namespace", metavar="NAME", help="Where the id is unique; default: all namespaces."
)


@click.command("list", cls=TaskqCommand, data=True)
@namespace_option
@pass_invocation
def list_(invocation: Invocation, namespace: str | None) -> None:
    """Print the schedules that beats have loaded: state, last and next time, and the rule in words.

    LAST is when the last one was sent, NEXT when the next one will be, with its jitter; 'schedule history' has planned times.
    LATENESS is how late the last was sent, in seconds; of one that is overdue, how late it is now.
    """
    app = invocation.app(namespace=namespace)
    namespace = app.settings.namespace
    with logs_of(app) as logs:
        shelves = read_stored(app, logs)
        found = views(shelves.values(), SystemClock().now())
        alone = sorted({view.name.partition("/")[0] for view in found if view.state == "overdue"})
        alone = [each for each in alone if has_beat(app, each) is False]
        is_doubtful = not found or any(view.state == "overdue" for view in found)
        hidden = hidden_end(app, LOG) if is_doubtful else ""
    rows = [_row(view) for view in found]
    if invocation.json:
        print_json(rows)
    else:
        print_rows(rows, _LISTED, as_json=False)
        if not rows and not hidden:
            place = f" in namespace {namespace!r}" if namespace else ""
            click.echo(f"taskq: no schedules are loaded{place}; beat loads them", err=True)
    if hidden:
        click.echo(f"taskq: {hidden}", err=True)
    for each in alone:
        click.echo(f"taskq: no beat of namespace {each!r} runs", err=True)


@click.command(cls=TaskqCommand, data=True)
@click.argument("id")
@namespace_option
@pass_invocation
def history(invocation: Invocation, id: str, namespace: str | None) -> None:
    """Print the last 20 occurrences of the schedule with ID that were sent, oldest first: planned, sent, seconds late."""
    app = invocation.app(namespace=namespace)
    with logs_of(app) as logs:
        name, stored = _stored(app, logs, id)
    delay = delay_of(stored.definition) if stored.definition is not None else None
    rows = [
        {
            "id": f"{name}@{write_seconds(each.planned)}",
            "planned": write_seconds(each.planned),
            "sent": write_instant(each.sent),
            "lateness": None
            if delay is None
            else round((each.sent - each.planned - delay).total_seconds(), 3),
        }
        for each in fired_of(stored)
    ]
    print_rows(rows, _FIRED, as_json=invocation.json)


@click.command(cls=TaskqCommand, data=True)
@click.argument("id")
@namespace_option
@pass_invocation
def pause(invocation: Invocation, id: str, namespace: str | None) -> None:
    """Let the schedule with ID send nothing until it is resumed; what comes due meanwhile is not sent later, either."""
    _set_pause(invocation, id, namespace, _paused, "paused")


@click.command(cls=TaskqCommand, data=True)
@click.argument("id")
@namespace_option
@pass_invocation
def resume(invocation: Invocation, id: str, namespace: str | None) -> None:
    """Let the schedule with ID, which was paused, send again from now on."""
    _set_pause(invocation, id, namespace, _resumed, "active")


def _paused(stored: Stored, now: datetime) -> Pause | None:
    if stored.pause is None:
        return Pause(now)
    cursor = None if stored.state is None else stored.state.state.cursor
    return stored.pause.paused(now, cursor)


def _resumed(stored: Stored, now: datetime) -> Pause | None:
    return None if stored.pause is None else stored.pause.resumed(now)


def _set_pause(
    invocation: Invocation,
    id: str,
    namespace: str | None,
    change: Callable[[Stored, datetime], Pause | None],
    state: str,
) -> None:
    app = invocation.app(namespace=namespace)
    with logs_of(app) as logs:
        name, stored = _stored(app, logs, id)
        following = change(stored, SystemClock().now())
        if following is not None:
            write = write_of(name, Part.PAUSE, following.to_json())
            (error,) = logs.append([write], timeout=app.settings.publish_timeout)
            if error is not None:
                raise error
    if invocation.json:
        print_json({"schedule": name, "state": state, "changed": following is not None})
    else:
        click.echo(f"{name} is {state}" if following is not None else f"{name} is {state} already")


@click.command(cls=TaskqCommand, data=True)
@click.argument("id")
@namespace_option
@pass_invocation
def trigger(invocation: Invocation, id: str, namespace: str | None) -> None:
    """Send the task of the schedule with ID now, beside its rule, and print the task's id. Needs no running beat."""
    app = invocation.app(namespace=namespace)
    with logs_of(app) as logs:
        name, stored = _stored(app, logs, id)
        definition = stored.definition
        if definition is None:
            raise TaskqError(f"schedule {name} cannot be used: {stored.problem}")
        now = SystemClock().now()
        occurrence = Occurrence(definition, now, now)
        task_id = f"{occurrence.task_id}+trigger-{secrets.token_hex(4)}"
        task = definition.entry.task
        queue, priority = app.queue_of(task), app.priority_of(task)
        message = message_of(occurrence, queue, app.format, priority=priority, task_id=task_id)
        (error,) = app.broker.publish([message])
        if error is not None:
            is_unsent = getattr(error, "sent", None) is False
            queue = queue_of_source(message.queue)
            raise PublishFailed(task_id, queue, str(error), maybe_sent=not is_unsent)
    if invocation.json:
        queue = queue_of_source(message.queue)
        print_json({"id": task_id, "schedule": name, "task": task, "queue": queue})
    else:
        click.echo(task_id)


def read_stored(app: App, logs: Logs) -> dict[str, Shelf]:
    """Return what stands in the log, by namespace; only that of the setting where there is one."""
    namespace = app.settings.namespace
    records = logs.read(LOG, timeout=app.settings.connect_timeout)
    if namespace is None:
        return read_shelves(records)
    return {namespace: read_shelf(records, namespace)}


def _stored(app: App, logs: Logs, id: str) -> tuple[str, Stored]:
    """Return the schedule that ID names; one that cannot be read is an error."""
    name, stored = find_named(app, read_stored(app, logs), id)
    if stored.problem:
        raise TaskqError(f"schedule {name} cannot be used: {stored.problem}")
    return name, stored


def find_named(app: App, shelves: Mapping[str, Shelf], id: str) -> tuple[str, Stored]:
    """Return the schedule that ID names; an error says so if it may stand where an open transaction hides it."""
    try:
        return find_stored(shelves, id, app.settings.namespace)
    except UsageError:
        raise
    except TaskqError as error:
        hidden = hidden_end(app, LOG)
        raise TaskqError(f"{error}; but {hidden}" if hidden else str(error)) from None


def _row(view: ScheduleView) -> dict[str, Any]:
    return {
        "schedule": view.name,
        "state": view.state,
        "task": view.task,
        "last": view.last and write_seconds(view.last),
        "next": view.next and write_seconds(view.next),
        "lateness": None if view.lateness is None else round(view.lateness, 3),
        "words": view.words or view.problem,
        "origin": view.origin,
        "paused_since": view.paused_since and write_seconds(view.paused_since),
    }
