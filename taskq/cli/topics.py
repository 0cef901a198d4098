"""`taskq topics`: which topics taskq needs, which exist, and making those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from taskq.app import App
from taskq.cli.asking import admin_of, needed_queues, needed_sources
from taskq.cli.groups import TaskqGroup
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json, print_table
from taskq.printing import escaped
from taskq.protocols import Admin, TopicStatus
from taskq.queues import check_queue
from taskq.topicdifferences import differences, exists
from taskq_kafka.steps import queue_of_source, source_of, sources_of

LOGS = ("taskq.revoked", "taskq.schedules", "taskq.timers")

_COLUMNS = ("topic", "kind", "state", "partitions", "replication", "differences")

_QUEUES = click.argument("names", metavar="[QUEUE]...", nargs=-1)
_PRIORITIES = click.option(
    "--priorities",
    is_flag=True,
    help="Also the topics of all priority steps: of each QUEUE, or else of the app's queues.",
)


@click.group(cls=TaskqGroup)
def topics() -> None:
    """List and make the topics of queues, of their dead letters, and of taskq's logs.

    Without QUEUE those of the queues that exist and that the app of -A needs, and taskq's logs. With QUEUE only its own: the queue,
    its priority steps that exist or that tasks of the app have as their own, and its dead letters.
    """


@topics.command("list", cls=TaskqCommand, data=True)
@_QUEUES
@_PRIORITIES
@pass_invocation
def list_(invocation: Invocation, names: Sequence[str], priorities: bool) -> None:
    """Print the topics, their settings, and what is not as taskq would make it.

    Of QUEUE only: its topic, those of its priority steps, and that of its dead letters. Without one: all of them, and taskq's logs.
    """
    app = invocation.app()
    with admin_of(app) as admin:
        rows = [_row(topic) for topic in _statuses(app, admin, names, all_steps=priorities)]
    if invocation.json:
        print_json(rows)
    else:
        print_table([{**row, "differences": _told(row["differences"])} for row in rows], _COLUMNS)


@topics.command(cls=TaskqCommand, data=True)
@_QUEUES
@_PRIORITIES
@pass_invocation
def plan(invocation: Invocation, names: Sequence[str], priorities: bool) -> None:
    """Print what `apply` would make; changes nothing.

    For QUEUE only: its topic, those of its priority steps, and that of its dead letters. Without one: for all queues that exist and
    that the app needs, and taskq's logs.
    """
    app = invocation.app()
    with admin_of(app) as admin:
        rows = [_row(topic) for topic in _statuses(app, admin, names, all_steps=priorities)]
    _report(invocation, rows, verb="would make", nothing="there is nothing to make")


@topics.command(cls=TaskqCommand, data=True)
@_QUEUES
@_PRIORITIES
@pass_invocation
def apply(invocation: Invocation, names: Sequence[str], priorities: bool) -> None:
    """Make the topics that are missing, whatever 'auto_create' says; those that exist stay as they are.

    For QUEUE only: its topic, those of its priority steps, and that of its dead letters. Without one: for all queues that exist and
    that the app needs, and taskq's logs.
    """
    app = invocation.app()
    with admin_of(app) as admin:
        timeout = app.settings.connect_timeout
        rows = []
        for topic in _statuses(app, admin, names, all_steps=priorities):
            rows.append(_row(topic))
            if exists(topic):
                continue
            _make(admin, topic, timeout)
            rows[-1]["state"] = "made"
    _report(invocation, rows, verb="made", nothing="there was nothing to make")


def _make(admin: Admin, topic: TopicStatus, timeout: float) -> None:
    if topic.is_log:
        admin.create_log(topic.queue, timeout=timeout)
    elif topic.is_dead_letters:
        admin.create_dead_letter_topic(topic.queue, timeout=timeout)
    else:
        admin.create_queue(source_of(topic.queue, topic.step), timeout=timeout)


def _statuses(
    app: App, admin: Admin, names: Sequence[str], *, all_steps: bool
) -> Sequence[TopicStatus]:
    """Return how all topics stand that the command is about: of the queues that are named, else all that is known, and the logs."""
    timeout = app.settings.connect_timeout
    named = {check_queue(name, prefix=app.settings.prefix) for name in names}
    needed = needed_sources(app)
    if named:
        sources = named | {source for source in needed if queue_of_source(source) in named}
    else:
        sources = needed | set(admin.queues(timeout=timeout))
    if all_steps:
        sources.update(*map(sources_of, named or needed_queues(app)))
    found = admin.topics(sorted(sources), timeout=timeout)
    return found if named else [*found, *admin.log_topics(LOGS, timeout=timeout)]


def _row(topic: TopicStatus) -> dict[str, Any]:
    different = differences(topic)
    state = "missing" if not exists(topic) else "differs" if different else "ok"
    return {
        "topic": topic.topic,
        "queue": topic.queue,
        "kind": "log" if topic.is_log else "dead letters" if topic.is_dead_letters else "tasks",
        "state": state,
        "partitions": topic.partitions,
        "replication": topic.replication,
        "settings": dict(topic.settings),
        "wanted": dict(topic.wanted),
        "differences": {
            name: {"is": own, "wanted": wanted} for name, (own, wanted) in different.items()
        },
    }


def _report(
    invocation: Invocation, rows: Sequence[dict[str, Any]], *, verb: str, nothing: str
) -> None:
    """Print what is, would be or was made, and what is used as it is."""
    if invocation.json:
        print_json([row for row in rows if row["state"] != "ok"])
        return
    is_idle = True
    for row in rows:
        if row["state"] == "differs":
            told = _told(row["differences"])
            line = f"{row['topic']}: exists with other settings and is used as it is: {told}"
            click.echo(escaped(line))
        elif row["state"] != "ok":
            is_idle = False
            wanted = ", ".join(f"{name}={value}" for name, value in row["wanted"].items())
            click.echo(
                escaped(f"{verb} {row['topic']} ({wanted})" if wanted else f"{verb} {row['topic']}")
            )
    if is_idle:
        click.echo(nothing)


def _told(different: dict[str, dict[str, str]]) -> str:
    return ", ".join(
        f"{name}={each['is']} (taskq makes {each['wanted']})" for name, each in different.items()
    )
