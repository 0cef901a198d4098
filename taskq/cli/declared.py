"""The schedules that files and code declare, for commands that need no broker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from taskq.cli.options import Invocation
from taskq.clock import SystemClock
from taskq.errors import TaskqError, UsageError
from taskq.near import nearest
from taskq.scheduling.occurrences import Definition
from taskq.scheduling.reconcile import Offer
from taskq.scheduling.schedulesource import ScheduleSource, offers_of_code


def declared_sources(
    invocation: Invocation, file: str | None
) -> tuple[list[ScheduleSource], list[Offer]]:
    """Return what beat would load: the files, and what the code of -A offers. A file that is named stands alone.

    Raises:
        UsageError: There is none.
    """
    settings = invocation.settings()
    files = [file] if file is not None else list(settings.schedule)
    code = [] if file is not None else _code(invocation)
    if not files and not code:
        asked = ", and no task of -A has a cron" if settings.app else ""
        raise UsageError(
            f"no schedule file{asked}; name one, or set 'schedule' in taskq.toml, or name modules whose tasks have a cron with -A"
        )
    return [ScheduleSource(path, settings.namespace) for path in files], code


def declared(invocation: Invocation, names: Sequence[str]) -> tuple[list[Definition], str | None]:
    """Return the schedules that [FILE] [ID] mean, and the id if there is one."""
    if len(names) > 2:
        raise click.UsageError("too many arguments: [FILE] [ID] are taken")
    file, id = _file_and_id(invocation, names)
    now = SystemClock().now()
    sources, code = declared_sources(invocation, file)
    offers = [*(source.offer(source.read()) for source in sources), *code]
    found = [
        Definition(entry, offer.namespace, now, offer.origin)
        for offer in offers
        for entry in offer.entries
    ]
    if id is None:
        return found, None
    named = [each for each in found if id in (each.entry.id, each.name)]
    if not named:
        near = nearest(id, [each.entry.id for each in found])
        hint = f"; did you mean {near!r}?" if near else ""
        raise TaskqError(f"no schedule has the id {id!r}{hint}")
    return named, id


def _file_and_id(invocation: Invocation, names: Sequence[str]) -> tuple[str | None, str | None]:
    """Tell FILE from ID where only one is given: an id needs files in the settings, or schedules in code."""
    if len(names) == 2:
        return names[0], names[1]
    if not names:
        return None, None
    is_file = Path(names[0]).exists() or names[0].endswith(".json")
    if is_file or not (invocation.settings().schedule or _code(invocation)):
        return names[0], None
    return None, names[0]


def _code(invocation: Invocation) -> list[Offer]:
    """Return what the tasks of -A offer, if modules are given."""
    settings = invocation.settings()
    if not settings.app:
        return []
    entries = [(task.module, task.schedule) for task in invocation.app().registry if task.schedule]
    return offers_of_code(entries, settings.app, settings.namespace)
