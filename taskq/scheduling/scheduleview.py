"""What the log of schedules says to people: how each stands, when it is due next, what it has sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from taskq.cron.sentence import sentence
from taskq.errors import TaskqError, UsageError
from taskq.near import nearest
from taskq.scheduling.occurrences import begin, decide, delay_of
from taskq.scheduling.schedulelog import Fired, Shelf, Stored

OVERDUE = timedelta(seconds=15)
"""From so long after its time on a schedule is overdue: a take-over takes less, so probably no beat of its namespace runs."""


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as it stands in the log."""

    name: str
    """`NAMESPACE/ID`."""

    state: str
    """`active`, `overdue`, `paused`, `disabled`, `ended`, `never` or `unreadable`."""

    task: str | None = None
    last: datetime | None = None
    """When its last occurrence was sent."""

    next: datetime | None = None
    """When the next one is to be sent: with its part of the jitter."""

    lateness: float | None = None
    """Seconds: how late it is now, or its last occurrence was sent."""

    words: str = ""
    origin: str | None = None
    problem: str = ""
    paused_since: datetime | None = None


def view_of(name: str, stored: Stored, now: datetime) -> ScheduleView | None:
    """Return how a schedule stands, or None where it has no definition."""
    definition = stored.definition
    if stored.problem:
        return ScheduleView(name, "unreadable", problem=stored.problem)
    if definition is None:
        return None
    state = begin(definition) if stored.state is None else stored.state.state
    fired = () if stored.state is None else stored.state.fired
    entry = definition.entry
    pause = stored.pause
    if pause is not None and pause.until is not None and pause.until > state.cursor:
        state = replace(state, cursor=pause.until)  # as the owner will see it
    following = decide(state, definition, state.cursor).next_due
    last = fired[-1] if fired else None
    lateness = None
    if last is not None:
        lateness = (last.sent - last.planned - delay_of(definition)).total_seconds()
    paused_since = pause.since if pause is not None and pause.until is None else None
    if not entry.enabled:
        found = "disabled"
    elif paused_since is not None:
        found, following = "paused", None
    elif following is None:
        found = "ended" if entry.end is not None and entry.end <= now else "never"
    elif now - following > OVERDUE:
        found, lateness = "overdue", (now - following).total_seconds()
    else:
        found = "active"
    return ScheduleView(
        name=name,
        state=found,
        task=entry.task,
        last=None if last is None else last.sent,
        next=following,
        lateness=lateness,
        words=sentence(entry.cron),
        origin=definition.origin,
        paused_since=paused_since,
    )


def views(shelves: Iterable[Shelf], now: datetime) -> list[ScheduleView]:
    """Return how all schedules stand, by name."""
    found = [
        view
        for shelf in shelves
        for id, stored in shelf.schedules.items()
        if (view := view_of(f"{shelf.namespace}/{id}", stored, now)) is not None
    ]
    return sorted(found, key=lambda view: view.name)


def find_stored(
    shelves: Mapping[str, Shelf], text: str, namespace: str | None
) -> tuple[str, Stored]:
    """Return the schedule that a text names, `ID` or `NAMESPACE/ID`, and its name.

    Raises:
        TaskqError: There is none; names the nearest.
        UsageError: Several namespaces have it.
    """
    known = {
        f"{shelf.namespace}/{id}": stored
        for shelf in shelves.values()
        for id, stored in shelf.schedules.items()
        if namespace in (None, shelf.namespace) and (stored.definition or stored.problem)
    }
    if text in known:
        return text, known[text]
    found = [name for name in known if name.partition("/")[2] == text]
    if len(found) > 1:
        raise UsageError(
            f"{text!r} names several schedules: {', '.join(sorted(found))}; take one of them"
        )
    if found:
        return found[0], known[found[0]]
    names = known if "/" in text else {name.partition("/")[2]: name for name in known}
    near = nearest(text, names)
    hint = (
        f"did you mean {near!r}?" if near else "'taskq schedule list' prints those that are loaded"
    )
    place = f" in namespace {namespace!r}" if namespace else ""
    raise TaskqError(f"no schedule has the id {text!r}{place}; {hint}")


def fired_of(stored: Stored) -> tuple[Fired, ...]:
    """Return the last occurrences, oldest first."""
    return () if stored.state is None else stored.state.fired
