"""`taskq schedule remove`: take out schedules that no file or module has any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import click

from taskq.app import App
from taskq.cli.asking import confirm, hidden_end, logs_of
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json
from taskq.cli.storedschedules import find_named, namespace_option, read_stored
from taskq.cli.timekeeping import has_beat
from taskq.errors import TaskqError, UsageError
from taskq.near import nearest
from taskq.neighbours import origin_of, source_name
from taskq.printing import counted
from taskq.scheduling.schedulelog import LOG, Shelf
from taskq.scheduling.scheduleremoval import Removal, origins, removal_of_ids, removal_of_origin
from taskq.timing.shards import Logs

_NAMED = 10
"""Schedules that the question names."""


@click.command(cls=TaskqCommand, data=True)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--source",
    "sources",
    metavar="NAME",
    multiple=True,
    help="Remove all schedules of a file, by its name, or of a module (code:MODULE); repeatable.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@namespace_option
@pass_invocation
def remove(
    invocation: Invocation,
    ids: tuple[str, ...],
    sources: tuple[str, ...],
    yes: bool,
    namespace: str | None,
) -> None:
    """Remove the schedules with ID, or all of a source: nothing is sent for them any more. Needs no running beat.

    It is for those that no beat loads any more: of a file that was renamed or left out, or of tasks that have no cron any more.
    What a running beat's file has is brought back by that beat within half a minute; take it out of the file.
    """
    if bool(ids) == bool(sources):
        raise click.UsageError("give the ids of schedules, or --source NAME")
    app = invocation.app(namespace=namespace)
    with logs_of(app) as logs:
        shelves = read_stored(app, logs)
        removals = list(_of_ids(app, shelves, ids) if ids else _of_sources(app, shelves, sources))
        if not yes:
            _ask(removals)
        _write(app, logs, removals)
        alive = [each for each in removals if each.listing and has_beat(app, each.namespace)]
    names = [name for each in removals for name in each.names]
    if invocation.json:
        print_json([{"schedule": name} for name in names])
    else:
        click.echo(
            f"removed {counted(len(names), 'schedule')}: {', '.join(names) or 'none was left'}"
        )
    for each in alive:
        listed = " and ".join(map(source_name, each.listing))
        click.echo(
            f"taskq: a beat of namespace {each.namespace!r} runs; if it still has {listed} with what was removed, it brings that "
            "back in half a minute: take it out there first",
            err=True,
        )


def _of_ids(app: App, shelves: Mapping[str, Shelf], ids: Sequence[str]) -> Iterator[Removal]:
    by_namespace: dict[str, set[str]] = {}
    for text in ids:
        name, stored = find_named(app, shelves, text)
        if stored.is_newer:
            raise TaskqError(f"schedule {name} is left untouched: {stored.problem}")
        namespace, _, id = name.partition("/")
        by_namespace.setdefault(namespace, set()).add(id)
    for namespace, found in by_namespace.items():
        yield removal_of_ids(shelves[namespace], found)


def _of_sources(
    app: App, shelves: Mapping[str, Shelf], sources: Sequence[str]
) -> Iterator[Removal]:
    for namespace, origin in dict.fromkeys(_find_source(app, shelves, text) for text in sources):
        yield removal_of_origin(shelves[namespace], origin)


def _find_source(app: App, shelves: Mapping[str, Shelf], text: str) -> tuple[str, str]:
    """Return the namespace and the origin that a person means.

    Raises:
        TaskqError: There is none; names the nearest.
        UsageError: Several namespaces have it.
    """
    known = {namespace: origins(shelf) for namespace, shelf in shelves.items()}
    found = {
        namespace: origin
        for namespace, each in known.items()
        if (origin := origin_of(text, each)) is not None
    }
    if len(found) > 1:
        places = ", ".join(sorted(found))
        raise UsageError(f"the namespaces {places} have a source {text!r}; choose with --namespace")
    if found:
        return next(iter(found.items()))
    names = sorted({source_name(origin) for each in known.values() for origin in each})
    near = nearest(text, names)
    hint = (
        f"did you mean {near!r}?"
        if near
        else f"there {'are' if names else 'is'} {', '.join(names) or 'none'}"
    )
    namespace = app.settings.namespace
    place = f" in namespace {namespace!r}" if namespace else ""
    hidden = hidden_end(app, LOG)
    but = f"; but {hidden}" if hidden else ""
    raise TaskqError(f"no schedules came from {text!r}{place}; {hint}{but}")


def _ask(removals: Sequence[Removal]) -> None:
    names = [name for each in removals for name in each.names]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    what = f"{counted(len(names), 'schedule')} ({', '.join(names[:_NAMED])}{more})"
    confirm(
        f"Remove {what}?",
        asks="schedule remove asks before it removes",
        nothing="nothing was removed",
    )


def _write(app: App, logs: Logs, removals: Sequence[Removal]) -> None:
    writes = [write for each in removals for write in each.writes]
    for error in logs.append(writes, timeout=app.settings.publish_timeout):
        if error is not None:
            raise error
