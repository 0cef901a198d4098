"""`taskq schedule`: check schedules, and say when they are due. Needs no broker.

What it says and does about schedules that beats have loaded is in `taskq.cli.storedschedules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from taskq.cli.declared import declared, declared_sources
from taskq.cli.groups import TaskqGroup
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json, print_rows
from taskq.cli.scheduleremove import remove
from taskq.cli.storedschedules import history, list_, pause, resume, trigger
from taskq.clock import SystemClock
from taskq.cron.dialects import read_elsewhere
from taskq.cron.fields import DIALECTS
from taskq.cron.schedule import CronSchedule
from taskq.cron.sentence import sentence
from taskq.errors import ScheduleFileError, TaskqError
from taskq.instants import write_seconds
from taskq.near import nearest
from taskq.printing import counted
from taskq.scheduling.occurrences import Definition, begin, delay_of, planned_instants
from taskq.scheduling.reconcile import Offer
from taskq.scheduling.schedulesource import ScheduleSource

_USAGE = 2
_MANY = 5  # instants that are shown of one schedule


@click.group(cls=TaskqGroup)
def schedule() -> None:
    """Check and explain schedules, list those that beats have loaded, pause, trigger and remove them."""


for command in (history, list_, pause, remove, resume, trigger):
    schedule.add_command(command)


@schedule.command(cls=TaskqCommand, data=True)
@click.argument("file", required=False)
@pass_invocation
@click.pass_context
def validate(ctx: click.Context, invocation: Invocation, file: str | None) -> None:
    """Check FILE, or the files of the setting 'schedule' and the schedules in the code of -A; exits with 2 if something is wrong.

    A task that the app of -A does not have is a warning, as other apps may have it: beat sends it all the same.
    """
    sources, code = declared_sources(invocation, file)
    rows = [*map(_checked, sources), *map(_of_code, code)]
    if invocation.json:
        print_json(rows)
    for row in rows:
        if not row["problems"] and not invocation.json:
            name = row["file"] or f"module {row['module']}"
            count = counted(row["schedules"], "schedule")
            click.echo(f"{name}: {count}, namespace {row['namespace']}")
        for problem in row["problems"]:
            click.echo(f"taskq: schedule file {row['file']}: {problem}", err=True)
    _warn_of_unknown_tasks(invocation, sources)
    if any(row["problems"] for row in rows):
        ctx.exit(_USAGE)


@schedule.command("next", cls=TaskqCommand, data=True)
@click.argument("names", metavar="[FILE] [ID]", nargs=-1)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    help="Instants of each schedule; default 1, with ID 5.",
)
@pass_invocation
def next_(invocation: Invocation, names: tuple[str, ...], count: int | None) -> None:
    """Print when the schedules of FILE are sent next, or the one with ID, with their jitter; earliest first.

    Without FILE those of the files of the setting 'schedule' and those in the code of -A.
    """
    with _hinting_at_count(names):
        found, id = declared(invocation, names)
    if count is None:
        count = _MANY if id is not None else 1
    rows = [
        (definition, [write_seconds(at) for at in _upcoming(definition, count)])
        for definition in found
    ]
    rows.sort(key=lambda row: row[1] or [_why_never(row[0])])  # which sorts behind all digits
    if invocation.json:
        print_json(
            [
                {
                    "schedule": each.name,
                    "task": each.entry.task,
                    "next": upcoming,
                    "why_never": None if upcoming else _why_never(each),
                }
                for each, upcoming in rows
            ]
        )
        return
    lines = [
        {"next": at, "schedule": each.name, "task": each.entry.task}
        for each, upcoming in rows
        for at in upcoming or [_why_never(each)]
    ]
    lines.sort(key=lambda line: line["next"])
    print_rows(lines, ("next", "schedule", "task"), as_json=False)


@schedule.command(cls=TaskqCommand, data=True)
@click.argument("names", metavar="[FILE] [ID] | EXPRESSION", nargs=-1)
@click.option(
    "--dialect",
    metavar="D",
    help=f"Take the argument for an expression in a dialect: {', '.join(DIALECTS)}.",
)
@click.option("--timezone", metavar="ZONE", help="Zone of the expression; default UTC.")
@pass_invocation
def explain(
    invocation: Invocation, names: tuple[str, ...], dialect: str | None, timezone: str | None
) -> None:
    """Say in words when schedules are due: those of FILE, the one with ID, or an EXPRESSION.

    Without FILE those of the files of the setting 'schedule' and those in the code of -A.
    """
    if dialect is not None or timezone is not None or _is_expression(names):
        if len(names) != 1:
            raise click.UsageError("explain takes one expression, in quotes")
        cron = CronSchedule.parse(names[0], dialect or "auto", timezone or "UTC")
        if timezone is not None and cron.has_own_zone:
            raise click.UsageError("the zone is given twice: the expression begins with one")
        _print_explained([_explained(cron, _upcoming_of(cron))], invocation, single=True)
        return
    found, id = declared(invocation, names)
    rows = [
        {"schedule": each.name, "task": each.entry.task}
        | _explained(each.entry.cron, list(_upcoming(each, _MANY)), _why_never(each))
        for each in found
    ]
    _print_explained(rows, invocation, single=id is not None)


def _is_expression(names: Sequence[str]) -> bool:
    """Tell an expression from a file or an id: it has blanks or begins with @, and is no file; nor is an empty text one."""
    if len(names) == 1 and not names[0].strip():
        return True
    if len(names) != 1 or Path(names[0]).exists():
        return False
    return len(names[0].split()) > 2 or names[0].startswith(("@", "TZ=", "CRON_TZ="))


def _checked(source: ScheduleSource) -> dict[str, Any]:
    row: dict[str, Any] = {"file": source.path, "namespace": source.namespace}
    try:
        file = source.read()
    except ScheduleFileError as error:
        return {**row, "schedules": 0, "problems": error.problems}
    return {**row, "schedules": len(file.entries), "problems": []}


def _of_code(offer: Offer) -> dict[str, Any]:
    """Return the row of a module's schedules; what is wrong with one has stopped the import."""
    row: dict[str, Any] = {"file": None, "namespace": offer.namespace}
    module = offer.origin.removeprefix("code:")
    return {**row, "schedules": len(offer.entries), "problems": [], "module": module}


def _warn_of_unknown_tasks(invocation: Invocation, sources: Iterable[ScheduleSource]) -> None:
    """Name tasks that the app does not have, where one is given: other apps may have them, so it is no error."""
    if not invocation.settings().app:
        return
    registry = invocation.app().registry
    for source in sources:
        try:
            entries = source.read().entries
        except ScheduleFileError:
            continue
        for task in sorted({entry.task for entry in entries if entry.task not in registry}):
            near = nearest(task, registry.names())
            hint = f"; did you mean {near!r}?" if near else ""
            line = (
                f"taskq: warning: schedule file {source.path}: the app has no task {task!r}{hint}"
            )
            click.echo(line, err=True)


@contextmanager
def _hinting_at_count(names: Sequence[str]) -> Iterator[None]:
    """Say in errors that a number which is no file and no id is wanted as --count."""
    try:
        yield
    except TaskqError as error:
        number = names[-1] if names else ""
        if not number.isdigit() or Path(number).exists():
            raise
        hint = f"for the next {number} instants: --count {number}"
        if isinstance(error, ScheduleFileError):
            raise ScheduleFileError(
                error.path, [f"{each}; {hint}" for each in error.problems]
            ) from None
        raise TaskqError(f"{error}; {hint}") from None


def _upcoming(definition: Definition, count: int) -> Iterator[datetime]:
    """Yield when it is sent next, with its jitter, as if it was loaded now, which counts for an `@every` without start."""
    latest = datetime.max.replace(tzinfo=definition.effective_from.tzinfo)
    delay = delay_of(definition)
    return (at + delay for at in islice(planned_instants(begin(definition), latest), count))


def _upcoming_of(cron: CronSchedule) -> list[datetime]:
    found: list[datetime] = []
    at = cron.next_after(SystemClock().now())
    while at is not None and len(found) < _MANY:
        found.append(at)
        at = cron.next_after(at)
    return found


def _why_never(definition: Definition) -> str:
    """Return why a schedule has no next instant, if it has none."""
    entry = definition.entry
    if not entry.enabled:
        return "disabled"
    if entry.end is not None and entry.end <= definition.effective_from:
        return "ended"
    return "never"


def _explained(
    cron: CronSchedule, upcoming: Sequence[datetime], why_never: str = "never"
) -> dict[str, Any]:
    fields = cron.fields
    other = read_elsewhere(cron)
    return {
        "expression": cron.expression,
        "dialect": cron.dialect,
        "timezone": cron.timezone,
        "words": sentence(cron),
        "every": None if cron.every is None else int(cron.every.total_seconds()),
        "fields": fields
        and {
            "second": fields.second.values,
            "minute": fields.minute.values,
            "hour": fields.hour.values,
            "day_of_month": fields.day_of_month.values,
            "month": fields.month.values,
            "day_of_week": fields.day_of_week.values,
        },
        "days": None if fields is None else "either" if fields.either_day else "both",
        "elsewhere": other and {"dialect": other.dialect, "words": sentence(other)},
        "next": [write_seconds(at) for at in upcoming],
        "why_never": None if upcoming else why_never,
    }


def _print_explained(
    rows: Sequence[dict[str, Any]], invocation: Invocation, *, single: bool
) -> None:
    if invocation.json:
        print_json(rows[0] if single and len(rows) == 1 else rows)
        return
    for place, row in enumerate(rows):
        if place:
            click.echo()
        if "schedule" in row:
            click.echo(f"schedule: {row['schedule']}")
            click.echo(f"task: {row['task']}")
        click.echo(f"expression: {row['expression']} (dialect {row['dialect']})")
        why = row["why_never"]
        is_stopped = why in ("disabled", "ended")
        click.echo(
            f"Not due, because {why}. Its rule: {row['words']}" if is_stopped else row["words"]
        )
        if row["elsewhere"]:
            click.echo(_other_meaning(**row["elsewhere"]))
        for at in row["next"] or [why]:
            click.echo(f"next: {at}")


def _other_meaning(dialect: str, words: str) -> str:
    """Return the warning about a line of five fields that may have been copied from the other dialect."""
    whose = "legacy entries" if dialect == "robfig-v1" else "native entries and crontab"
    return f"careful: in the dialect {dialect}, that of {whose}, the same five fields mean: {words}"
