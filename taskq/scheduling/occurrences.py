"""Which occurrences of a schedule are due: definition, cursor and now give what to send and the next state.

Pure: no clock, no file, no broker. `State` is all that has to outlive a process; whoever stores it together with the sending of the
occurrences sends each exactly once. Many schedules at once are in `taskq.scheduling.timetable`.

The rules:
- An instant of the rule is *planned*; with the entry's jitter it is *due*. Its occurrence is named after the planned instant.
- Nothing is due before an entry's first load. After a change, instants up to `effective_from` follow the old entry, later ones
  the new one. An entry that was removed and added again has no old one. A cursor never goes back.
- What came due at most `TAKE_OVER` ago, or while a beat was watching, is always sent. What is older was missed, and the entry's
  `catch_up` rules it: `none` of it, the `last` one, or `all`, if it came due within `catch_up_window`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from hashlib import blake2b
from typing import Any

from taskq.instants import read_instant, write_instant, write_seconds
from taskq.scheduling.entryvalues import CatchUp
from taskq.scheduling.schedule import ScheduleEntry

FORMAT = 1
"""Version of `State.to_json`."""

TAKE_OVER = timedelta(seconds=60)
"""What came due this long ago is not missed: one beat takes over from another, or starts again."""

_SECOND = timedelta(seconds=1)
_INSTANT = timedelta(microseconds=1)  # the least step of time there is
_NO_TIME = timedelta(0)
_WITH_THE_LOAD = datetime.max.replace(tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Definition:
    """An entry as it was loaded."""

    entry: ScheduleEntry
    namespace: str
    effective_from: datetime
    """When it was loaded: instants up to here are the earlier definition's."""

    origin: str
    """What loaded it: `file:NAME.json` or `code:MODULE`."""

    born: datetime = _WITH_THE_LOAD
    """When the schedule was added, or added again after it had been removed; a change leaves it as it is."""

    def __post_init__(self) -> None:
        """Let a schedule that is new be born with its first load."""
        if self.born is _WITH_THE_LOAD:
            object.__setattr__(self, "born", self.effective_from)

    @property
    def name(self) -> str:
        """`NAMESPACE/ID`, unique among all schedules."""
        return f"{self.namespace}/{self.entry.id}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        document = {
            "entry": self.entry.to_json(),
            "namespace": self.namespace,
            "effective_from": write_instant(self.effective_from),
            "origin": self.origin,
        }
        if self.born != self.effective_from:
            document["born"] = write_instant(self.born)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Definition:
        """Read what `to_json` returned.

        Raises:
            ValueError: It is not such a document.
        """
        try:
            effective_from = read_instant(document["effective_from"])
            born = document.get("born")
            return cls(
                entry=ScheduleEntry.from_json(document["entry"]),
                namespace=str(document["namespace"]),
                effective_from=effective_from,
                origin=str(document["origin"]),
                born=effective_from if born is None else read_instant(born),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no definition of a schedule: {error!r}") from error


@dataclass(frozen=True, slots=True)
class State:
    """How far a schedule has come."""

    definition: Definition
    """The one in force: it rules the instants after `cursor`, until a newer one takes over."""

    cursor: datetime
    """All planned instants up to this one are dealt with: sent, or left out by `catch_up`."""

    anchor: datetime
    """What the instants of an `@every` count from, so that its phase outlives reloads and restarts."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it, with the version of its form."""
        return {
            "format": FORMAT,
            "definition": self.definition.to_json(),
            "cursor": write_instant(self.cursor),
            "anchor": write_instant(self.anchor),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], known: Definition | None = None) -> State:
        """Read what `to_json` returned.

        Args:
            document: The decoded JSON.
            known: A definition that is probably the state's: if it is, it needs not be read again, which is most of the work.

        Raises:
            ValueError: It is not such a document, or one of a version that is not known here; then leave it untouched.
        """
        try:
            if document["format"] != FORMAT:
                raise ValueError(
                    f"the state of a schedule has the unknown format {document['format']!r}"
                )
            stored = document["definition"]
            is_known = known is not None and known.to_json() == stored
            return cls(
                definition=known if known and is_known else Definition.from_json(stored),
                cursor=read_instant(document["cursor"]),
                anchor=read_instant(document["anchor"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no state of a schedule: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One planned instant of a schedule."""

    definition: Definition
    planned: datetime
    due: datetime
    """When it is to be sent: the planned instant plus the entry's part of its jitter."""

    @property
    def task_id(self) -> str:
        """`NAMESPACE/ID@2026-11-23T17:00:00Z`: the same for whoever sends it, however often."""
        return f"{self.definition.name}@{self.scheduled_for}"

    @property
    def scheduled_for(self) -> str:
        """The planned instant, as the header holds it."""
        return write_seconds(self.planned)

    @property
    def expires(self) -> datetime | None:
        """When the task is not run any more."""
        seconds = self.definition.entry.expires
        return None if seconds is None else self.planned + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Occurrences that were missed and are not sent, because of `catch_up`: all planned ones from `first` to `last`."""

    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done for one schedule now."""

    occurrences: tuple[Occurrence, ...]
    """To be sent, earliest first."""

    state: State
    """The state once they are sent."""

    next_due: datetime | None
    """When to decide again, which may have passed already; None where nothing will be due again."""

    left_out: LeftOut | None = None


def begin(definition: Definition, floor: datetime | None = None) -> State:
    """Return the state of a schedule that is new: what lies before its load is not due.

    Args:
        definition: Its definition.
        floor: How far a schedule of that name had come that was removed; nothing up to there is due, either.
    """
    start = definition.effective_from
    return State(definition, max(start, floor or start), anchor=_anchor(definition))


def planned_instants(state: State, until: datetime) -> Iterator[datetime]:
    """Yield the planned instants after the state's cursor, up to `until` (included), by the definition in force."""
    found = _next_planned(state, state.cursor)
    while found is not None and found <= until:
        yield found
        found = _next_planned(state, found)


def delay_of(definition: Definition) -> timedelta:
    """Return the entry's part of its jitter, in whole milliseconds: fixed by its name, so that all beats agree on it."""
    jitter = definition.entry.jitter
    if not jitter:
        return _NO_TIME
    digest = blake2b(definition.name.encode(), digest_size=8).digest()
    part = int.from_bytes(digest, "big") / 2**64
    return timedelta(milliseconds=int(part * jitter * 1000))


def decide(
    state: State,
    definition: Definition,
    now: datetime,
    *,
    watching_since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 500,
) -> Decision:
    """Decide what is due.

    Args:
        state: How far the schedule has come.
        definition: The newest definition; where it is not that of the state, it takes over at its `effective_from`.
        now: The present instant.
        watching_since: Since when the caller has decided without a break. What came due since then was not missed, even if
            it could not be sent for a long time.
        until: Where `definition` ends, because a later one takes over from it; None: nowhere.
        limit: The most occurrences that are returned; for the others decide again.
    """
    kept = now - TAKE_OVER if watching_since is None else min(now - TAKE_OVER, watching_since)
    if definition is state.definition or definition == state.definition:
        return _decide_by_one(state, now, kept, limit)
    if (
        definition.born > state.definition.born
    ):  # it was removed meanwhile, and its old part with it
        return _decide_by_one(begin(definition, state.cursor), now, kept, limit)
    old = _decide_by_one(state, now, kept, limit, until=definition.effective_from)
    if old.next_due is not None:  # the old definition has not done its part yet
        return old
    state = _hand_over(old.state, definition)
    new = _decide_by_one(state, now, kept, limit - len(old.occurrences), until=until)
    return replace(
        new,
        occurrences=old.occurrences + new.occurrences,
        left_out=_joined(old.left_out, new.left_out),
    )


def _decide_by_one(
    state: State, now: datetime, kept: datetime, limit: int, *, until: datetime | None = None
) -> Decision:
    """Decide by the definition in force alone, for planned instants up to `until`.

    Args:
        state: How far the schedule has come.
        now: The present instant.
        kept: What came due before this instant was missed.
        limit: The most occurrences.
        until: Where the definition ends; None: nowhere.
    """
    delay = delay_of(state.definition)
    last_due = now - delay if until is None else min(now - delay, until)
    missed_until = min(kept - delay - _INSTANT, last_due)
    cursor, left_out = _leave_out(state, missed_until, now - delay)
    planned: list[datetime] = []
    following = _next_planned(state, cursor)
    while following is not None and following <= last_due and len(planned) < limit:
        planned.append(following)
        following = _next_planned(state, following)
    if planned:
        cursor = planned[-1]
    if following is not None and until is not None and following > until:
        following = None
    return Decision(
        occurrences=tuple(Occurrence(state.definition, at, at + delay) for at in planned),
        state=state if cursor == state.cursor else replace(state, cursor=cursor),
        next_due=None if following is None else following + delay,
        left_out=left_out,
    )


def _leave_out(
    state: State, missed_until: datetime, due_now: datetime
) -> tuple[datetime, LeftOut | None]:
    """Apply `catch_up` to what was missed: the planned instants after the cursor up to `missed_until`.

    Args:
        state: How far the schedule has come.
        missed_until: The last instant that counts as missed.
        due_now: The planned instant that would be due right now; the window is counted back from it.

    Returns:
        The cursor after which all that is due is to be sent, and what was left out up to there.
    """
    first = _next_planned(state, state.cursor) if state.cursor < missed_until else None
    if first is None or first > missed_until:
        return state.cursor, None
    entry = state.definition.entry
    opens = due_now - timedelta(seconds=entry.catch_up_window)
    last = _last_planned(state, first, missed_until)
    if entry.catch_up is CatchUp.NONE or last < opens:
        return missed_until, LeftOut(first, last)
    # Planned instants are whole seconds: nothing lies between the cursor and the first that is sent.
    cursor = (last if entry.catch_up is CatchUp.LAST else opens) - _INSTANT
    if cursor < first:
        return state.cursor, None
    return cursor, LeftOut(first, _last_planned(state, first, cursor))


def _last_planned(state: State, first: datetime, until: datetime) -> datetime:
    """Return the last planned instant up to `until`, where `first` is one of them.

    Halves the time instead of walking through it: a day of seconds takes 17 steps.
    """
    low, found = first, first
    high = int((until - first) / _SECOND)
    past = 0
    while past < high:
        middle = (past + high + 1) // 2
        following = _next_planned(state, low + (middle - 1) * _SECOND)
        if following is not None and following <= until:
            found = following
            past = max(middle, int((found - low) / _SECOND))
        else:
            high = middle - 1
    return found


def _hand_over(state: State, definition: Definition) -> State:
    """Return the state with a new definition in force; an `@every` that stays the same keeps its phase."""
    old, new = state.definition.entry, definition.entry
    same = old.cron.every == new.cron.every and old.start == new.start
    return State(
        definition=definition,
        cursor=max(state.cursor, definition.effective_from),
        anchor=state.anchor if same else _anchor(definition),
    )


def _anchor(definition: Definition) -> datetime:
    start = definition.entry.start
    return definition.effective_from if start is None else start


def _next_planned(state: State, after: datetime) -> datetime | None:
    entry = state.definition.entry
    if not entry.enabled:
        return None
    if entry.start is not None:
        after = max(after, entry.start - _INSTANT)
    found = entry.cron.next_after(after, anchor=state.anchor)
    return None if found is None or (entry.end is not None and found > entry.end) else found


def _joined(first: LeftOut | None, second: LeftOut | None) -> LeftOut | None:
    if first is None or second is None:
        return first or second
    return LeftOut(first.first, second.last)
