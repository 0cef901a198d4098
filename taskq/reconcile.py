"""What a load of schedules writes: what a source holds beside what stands in the log. Pure.

The last load wins. It writes only differences, takes out only what its own origin had brought, and then says in a manifest what is
in force and who loaded it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from taskq.errors import ScheduleFileError, UsageError
from taskq.instants import write_seconds
from taskq.occurrences import Definition
from taskq.schedule import ScheduleEntry
from taskq.schedulelog import (
    LARGEST_DEFINITION,
    Load,
    Manifest,
    Part,
    Shelf,
    definition_to_json,
    encode,
    listed_ids,
    manifest_write,
    write_of,
)
from taskq.shards import Write

_UNDONE = timedelta(hours=1)
"""A load that is undone so soon is probably undone by a beat that has the old file still, or again."""

_LEAST = timedelta(microseconds=1)  # the least step of time there is


@dataclass(frozen=True, slots=True)
class Offer:
    """The schedules of one source: they are to be in force."""

    namespace: str
    origin: str
    source: str
    """What people call it: the file's path, the module."""

    digest: str
    """Tells its content."""

    entries: Sequence[ScheduleEntry]


@dataclass(frozen=True, slots=True)
class Line:
    """A line for the log."""

    level: int
    text: str
    extra: Mapping[str, str]
    """Its event and what goes with it."""


@dataclass(slots=True)
class Plan:
    """What a load does."""

    definitions: dict[str, Definition] = field(default_factory=dict)
    """All that are in force afterwards, by id, of this origin."""

    touched: list[Definition] = field(default_factory=list)
    """Those that are new or have changed."""

    writes: list[Write] = field(default_factory=list)
    """In their order; none where nothing changes. Those of definitions come before the manifest."""

    lines: list[Line] = field(default_factory=list)


def reconcile(
    offer: Offer,
    shelf: Shelf,
    *,
    load: Load,
    replaces_all: bool,
    is_live: Callable[[], bool],
) -> Plan:
    """Return what a load writes and says.

    Args:
        offer: What is to be in force.
        shelf: What stands in the log of the namespace.
        load: Who loads it, and when.
        replaces_all: Whether it may take out all that its origin has brought before.
        is_live: Returns whether a beat of the namespace runs; asked only where that matters.

    Raises:
        ScheduleFileError: It must not be loaded.
        UsageError: Another beat that runs has other schedules under this namespace.
    """
    stored = shelf.definitions()
    own = {id for id, definition in stored.items() if definition.origin == offer.origin}
    offered = {entry.id for entry in offer.entries}
    manifest = shelf.manifests.get(offer.origin)
    _check_removal(offer, own, offered, manifest, load, replaces_all, is_live)
    plan = Plan()
    problems: list[str] = []
    for entry in offer.entries:
        try:
            _define(plan, offer, entry, shelf, load.at)
        except ValueError as error:
            problems.append(
                f"the schedule {offer.namespace}/{entry.id!r} cannot be stored: {error}"
            )
    if problems:
        raise ScheduleFileError(offer.source, problems)
    for id in sorted(own - offered):
        name = stored[id].name
        plan.writes.append(write_of(name, Part.DEFINITION, None))
        extra = {"event": "schedule.removed", "schedule": name}
        plan.lines.append(_line(f"schedule {name} removed by {offer.source}", extra))
    plan.lines += _undone(offer, manifest, load)
    if plan.writes or manifest is None or manifest.load.digest != load.digest:
        plan.writes.append(_manifest(offer, manifest, load))
    return plan


def _check_removal(
    offer: Offer,
    own: set[str],
    offered: set[str],
    manifest: Manifest | None,
    load: Load,
    replaces_all: bool,
    is_live: Callable[[], bool],
) -> None:
    if not own or own & offered or replaces_all:
        return
    if (
        offered
        and manifest is not None
        and not manifest.load.is_by(load.host, load.pid)
        and is_live()
    ):
        raise UsageError(
            f"{offer.source} has none of the {len(own)} schedules that a running beat on {manifest.load.host} has loaded "
            f"as namespace {offer.namespace!r}; choose another with --namespace, or start with --replace if these are to go"
        )
    raise ScheduleFileError(
        offer.source,
        [
            f"would remove every schedule there is ({len(own)}); start beat with --replace if that is meant"
        ],
    )


def _define(plan: Plan, offer: Offer, entry: ScheduleEntry, shelf: Shelf, now: datetime) -> None:
    """Add what one entry writes, if anything."""
    name = f"{offer.namespace}/{entry.id}"
    found = shelf.schedules.get(entry.id)
    before = None if found is None else found.definition
    if found is not None and found.is_newer:
        extra = {"event": "schedule.unreadable", "schedule": name}
        text = f"schedule {name} is left untouched: {found.problem}"
        plan.lines.append(_line(text, extra, logging.WARNING))
        return
    if before is None:
        definition = Definition(entry, offer.namespace, now, offer.origin)
        extra = {"event": "schedule.added", "schedule": name}
        plan.lines.append(_line(f"schedule {name} added by {offer.source}", extra))
    elif before.entry == entry and before.origin == offer.origin:
        plan.definitions[entry.id] = before
        return
    else:
        # A clock that is behind the one of the load before changes nothing in their order.
        since = max(now, before.effective_from + _LEAST)
        definition = replace(before, entry=entry, effective_from=since, origin=offer.origin)
        extra = {"event": "schedule.changed", "schedule": name}
        plan.lines.append(_line(f"schedule {name} changed by {offer.source}", extra))
    if before is not None and before.origin != offer.origin:
        text = f"schedule {name} came from {before.origin} and comes from {offer.source} now"
        extra = {"event": "schedule.moved", "schedule": name}
        plan.lines.append(_line(text, extra, logging.WARNING))
    document = definition_to_json(definition)
    size = len(encode(document))
    if size > LARGEST_DEFINITION:
        raise ValueError(f"it has {size} bytes, and at most {LARGEST_DEFINITION} are allowed")
    plan.definitions[entry.id] = definition
    plan.touched.append(definition)
    plan.writes.append(write_of(name, Part.DEFINITION, document))


def _line(text: str, extra: Mapping[str, str], level: int = logging.INFO) -> Line:
    return Line(level, text, extra)


def _undone(offer: Offer, manifest: Manifest | None, load: Load) -> Iterator[Line]:
    """Say so where the load brings back what another beat has replaced just now."""
    if (
        manifest is None
        or manifest.before is None
        or manifest.before.digest != load.digest
        or manifest.load.digest == load.digest
        or manifest.load.is_by(load.host, load.pid)
        or load.at - manifest.load.at > _UNDONE
    ):
        return
    yield _line(
        f"{offer.source} undoes what the beat on {manifest.load.host} (process {manifest.load.pid}) loaded as {offer.origin} "
        f"at {write_seconds(manifest.load.at)}: the last load wins",
        {"event": "schedule.load_undone", "namespace": offer.namespace},
        logging.WARNING,
    )


def _manifest(offer: Offer, manifest: Manifest | None, load: Load) -> Write:
    before: Load | None = None
    if manifest is not None:
        is_same = manifest.load.digest == load.digest
        before = manifest.before if is_same else manifest.load
    ids = listed_ids(entry.id for entry in offer.entries)
    return manifest_write(offer.namespace, offer.origin, Manifest(load, ids, before))


def is_in_force(offer: Offer, manifest: Manifest | None) -> bool:
    """Return whether what a manifest says is what a source holds."""
    return manifest is not None and manifest.load.digest == offer.digest
