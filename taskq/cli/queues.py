"""`taskq queues`: what waits, for how long, and who takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from taskq.attempts import instant_text
from taskq.cli.asking import admin_of, needed_queues
from taskq.cli.heldup import held_up
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import is_terminal, print_json, print_table
from taskq.clock import SystemClock
from taskq.instants import write_seconds
from taskq.printing import age
from taskq.protocols import HeldPartition, QueueStatus
from taskq.queuetotals import totals
from taskq.timing.timers import instant_of
from taskq_kafka.steps import highest_first, queue_of_source

_COLUMNS = ("queue", "partitions", "lag", "oldest_age", "workers")


@click.command(cls=TaskqCommand, data=True)
@click.option("--steps", is_flag=True, help="A row for each priority step, such as QUEUE.p9.")
@pass_invocation
def queues(invocation: Invocation, steps: bool) -> None:
    """Print the queues: how many tasks wait, the age of the oldest, and how many workers listen.

    The priority steps of a queue are counted with it. Queues that the app of -A needs and that do not exist yet have no partitions.
    An embedded broker, as of 'taskq dev', cannot tell workers: they are '-', in JSON null.
    What stands behind a transaction that stays open is not counted, as no worker sees it: a line on stderr names the partition.
    """
    app = invocation.app()
    prefix = app.settings.prefix
    timeout, group = app.settings.connect_timeout, app.settings.group
    with admin_of(app) as admin:
        # Without an app nothing needs the default queue.
        needed = needed_queues(app) if len(app.registry) else ()
        sources = admin.sources(timeout=timeout)
        statuses = admin.queue_status(sources, group=group, timeout=timeout)
        found = {status.queue: status for status in (statuses if steps else totals(statuses))}
        names = sorted({*found, *needed}, key=highest_first)
        is_told = admin.group(group, timeout=timeout).is_told
        topics = [prefix + status.queue for status in statuses]
        held: dict[str, list[HeldPartition]] = {}
        for each in sorted(held_up(admin, topics, SystemClock(), timeout), key=_place):
            source = each.topic[len(prefix) :]
            held.setdefault(source if steps else queue_of_source(source), []).append(each)
    rows = [
        _row(found.get(name) or QueueStatus(name, 0, 0, None, 0), is_told=is_told) for name in names
    ]
    if invocation.json:
        print_json(
            [{**row, "held_up": list(map(_held, held.get(row["queue"], [])))} for row in rows]
        )
        return
    notes = [_note(row) for row in rows]
    table = [
        {**row, "oldest_age": _age(row["oldest_age"]), "note": note}
        for row, note in zip(rows, notes, strict=True)
    ]
    # In a pipe the columns are always the same ones.
    print_table(table, (*_COLUMNS, "note") if is_terminal() and any(notes) else _COLUMNS)
    for each in (each for name in names for each in held.get(name, [])):
        click.echo(f"taskq: {_complaint(each)}", err=True)


def _row(status: QueueStatus, *, is_told: bool) -> dict[str, Any]:
    row = {column: asdict(status)[column] for column in _COLUMNS}
    # Where the broker cannot tell who listens, nobody is said to be missing.
    return row if is_told else {**row, "workers": None}


def _place(held: HeldPartition) -> tuple[str, int]:
    return held.topic, held.partition


def _held(held: HeldPartition) -> dict[str, Any]:
    return {
        "topic": held.topic,
        "partition": held.partition,
        "offset": held.offset,
        "behind": held.behind,
        "since": None if held.since_ms is None else _time(held.since_ms),
    }


def _complaint(held: HeldPartition) -> str:
    since = "" if held.since_ms is None else f" since {_time(held.since_ms)}"
    return (
        f"topic {held.topic}: an open transaction holds up partition {held.partition} from offset {held.offset} on{since}; "
        "no worker sees what stands there, and the lag does not count it: 'taskq doctor' says how to end it"
    )


def _time(milliseconds: int) -> str:
    return instant_text(instant_of(milliseconds))


def _age(seconds: float | None) -> str | None:
    return None if seconds is None else age(seconds)


def _note(row: Mapping[str, Any]) -> str:
    """Return what a person should know beside the numbers; nothing where all is as it should be."""
    if not row["partitions"]:
        return "does not exist yet"
    if not row["lag"] or row["workers"] != 0:  # None: it cannot be told
        return ""
    if row["oldest_age"] is None:
        return "no worker"
    since = SystemClock().now() - timedelta(seconds=row["oldest_age"])
    return f"no worker; the oldest has waited since {write_seconds(since)}"
