"""What a load of schedules writes: what a source holds beside what stands in the log. Pure.

The last load wins. It writes only differences, takes out only what its own origin had brought, and then says in a manifest what is
in force and who loaded it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from taskq.errors import ScheduleFileError, UsageError
from taskq.instants import write_seconds
from taskq.scheduling.occurrences import Definition
from taskq.scheduling.schedule import ScheduleEntry
from taskq.scheduling.schedulelog import (
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
from taskq.timing.shards import Write

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

    left: list[str] = field(default_factory=list)
    """Ids that the source has no more and another lists: a load that comes later takes them out, unless a beat has claimed them."""

    writes: list[Write] = field(default_factory=list)
    """In their order; none where nothing changes. Those of definitions come before the manifests, the own one is the last."""

    lines: list[Line] = field(default_factory=list)


def reconcile(
    offer: Offer,
    shelf: Shelf,
    *,
    load: Load,
    replaces_all: bool,
    is_live: Callable[[], bool],
    is_repeated: bool = False,
    kept: Collection[str] = (),
) -> Plan:
    """Return what a load writes and says.

    Args:
        offer: What is to be in force.
        shelf: What stands in the log of the namespace.
        load: Who loads it, and when.
        replaces_all: Whether it may take out all that its origin has brought before.
        is_live: Returns whether a beat of the namespace runs; asked only where that matters.
        is_repeated: Whether the same was loaded before, and the log is only mended: then it takes over no id that stands in
            another source too, as two beats would do so in turns for ever.
        kept: Ids that a load of this process left a moment ago, see `Plan.left`: it is too early to take them out.

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
            if not (is_repeated and _is_anothers(entry.id, offer.origin, shelf)):
                _define(plan, offer, entry, shelf, load.at)
        except ValueError as error:
            problems.append(
                f"the schedule {offer.namespace}/{entry.id!r} cannot be stored: {error}"
            )
    if problems:
        raise ScheduleFileError(offer.source, problems)
    for id in sorted(own - offered):
        _take_out(plan, offer, stored[id], shelf, kept)
    for origin, other in shelf.manifests.items():
        if origin != offer.origin and not set(plan.left).isdisjoint(other.ids):
            plan.writes.append(manifest_write(offer.namespace, origin, other.without(plan.left)))
    plan.lines += _undone(offer, manifest, load)
    if plan.writes or not is_whole(offer, manifest):
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


def _is_anothers(id: str, origin: str, shelf: Shelf) -> bool:
    """Return whether a schedule is in force as another origin has it, which lists it."""
    definition = shelf.schedules[id].definition if id in shelf.schedules else None
    if definition is None or definition.origin == origin:
        return False
    return definition.origin in shelf.listing(id)


def _take_out(
    plan: Plan, offer: Offer, definition: Definition, shelf: Shelf, kept: Collection[str]
) -> None:
    """Take out a schedule that its source has no more.

    One that another manifest lists goes on for the time being: it is taken off that manifest, and whoever has that source brings
    it back as its own, so that no occurrence is lost. A source that was renamed long ago is nobody's, and brings nothing back.
    """
    name, id = definition.name, definition.entry.id
    others = shelf.listing(id, beside=offer.origin)
    if others or id in kept:
        plan.left.append(id)
    if others:
        text = (
            f"schedule {name} is not in {offer.source} any more, but {' and '.join(others)} had it too: it goes on, and is removed "
            "in a minute or two if no beat that runs has it there still"
        )
        extra = {"event": "schedule.left", "schedule": name}
        plan.lines.append(_line(text, extra, logging.WARNING))
    if id in plan.left:
        return
    plan.writes.append(write_of(name, Part.DEFINITION, None))
    extra = {"event": "schedule.removed", "schedule": name}
    plan.lines.append(_line(f"schedule {name} removed by {offer.source}", extra))


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


def is_whole(offer: Offer, manifest: Manifest | None) -> bool:
    """Return whether a manifest is that of what a source holds, and nobody has taken ids off it."""
    if manifest is None or not is_in_force(offer, manifest):
        return False
    return manifest.ids == listed_ids(entry.id for entry in offer.entries)
