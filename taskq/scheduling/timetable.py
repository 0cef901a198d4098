"""Many schedules: how far each has come, and which are to be decided now.

Pure: no clock, no file, no broker. The rules of one schedule are in `taskq.scheduling.occurrences`. One thread owns a timetable.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from taskq.scheduling.occurrences import (
    Decision,
    Definition,
    LeftOut,
    Occurrence,
    State,
    begin,
    decide,
)
from taskq.scheduling.schedulelog import Pause

_AT_ONCE = datetime.min.replace(tzinfo=timezone.utc)

_SAME_LOAD = timedelta(seconds=60)
"""Beats that start together load one file at nearly the same time: none of them has added it *again*."""

_LEAD = timedelta(seconds=0.8)
"""How long before its time a schedule is decided: a thousand that are due in one second are then only to be sent."""

_LATEST = timedelta(seconds=30)
"""How long after its time such a decision holds: well below what counts as missed."""

_MOST = 100
"""Occurrences of one schedule in one decision: one that has much to catch up lets the others pass."""


@dataclass(slots=True)
class _Row:
    state: State | None = None
    """None: nothing is stored of it yet."""

    loads: list[Definition] = field(default_factory=list)
    """Definitions that are to be in force after the one of the state, oldest first."""

    pause: Pause | None = None
    floor: datetime | None = None
    """How far the schedule of the same name had come that was removed."""

    is_held: bool = False
    """Whether something of it cannot be read, so that it must not be decided."""

    is_out: bool = False
    """Whether a decision was taken that has not been settled."""

    is_touched: bool = False
    """Whether something of it came while it was out."""

    ready: Decision | None = None
    """What was decided for its next due time before that came; of its turn."""

    turn: int = 0
    """The number of its newest entry in the heap: all others are outdated."""

    @property
    def is_defined(self) -> bool:
        return bool(self.loads)


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that is to be carried out, for one schedule."""

    name: str
    decision: Decision
    definition: Definition
    """The newest one, which may not be in force yet."""


class Timetable:
    """Schedules, how far they have come, and when each is to be decided next.

    A schedule whose decision was taken is out until `settle` says that it was carried out.
    """

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._heap: list[tuple[datetime, int, str]] = []
        self._soon: list[tuple[datetime, int, str]] = []
        """As the heap, with those that are to be decided before their time."""

        self._turns = 0
        self._floors: dict[str, datetime] = {}

    def define(self, definition: Definition) -> None:
        """Take a schedule's newest definition: it takes over when the earlier ones have done their part."""
        name = definition.name
        row = self._rows.get(name)
        if row is None or not row.is_defined:
            # One that was stored before it was removed is unknown here, or its state stands in the log before its definition.
            row = self._row(name)
            row.floor = self._floors.get(name)
        row.loads.append(definition)
        self._wake(name)

    def restore(self, name: str, state: State | None) -> None:
        """Take how far a schedule has come from the log; only before the first `take`: afterwards nobody else writes it."""
        row = self._row(name)
        if state is None and row.state is not None:
            row.floor = row.state.cursor
        row.state = state
        self._wake(name)

    def set_pause(self, name: str, pause: Pause | None) -> None:
        """Take whether a schedule is paused."""
        row = self._row(name)
        row.pause = pause
        if pause is None and not row.is_defined and row.state is None:
            del self._rows[name]
        else:
            self._wake(name)

    def hold(self, name: str, is_held: bool) -> None:
        """Decide a schedule no more, or again."""
        self._row(name).is_held = is_held
        self._wake(name)

    def remove(self, name: str) -> None:
        """Forget a schedule; one that is added again under its name does not come before where it was."""
        row = self._rows.pop(name, None)
        if row is None:
            return
        if row.state is not None:
            self._floors[name] = max(row.state.cursor, self._floors.get(name, _AT_ONCE))
        if row.pause is not None:  # a record of its own, which goes for itself
            self._rows[name] = _Row(pause=row.pause)

    def newest(self, name: str) -> Definition | None:
        """Return the newest definition of a schedule."""
        row = self._rows.get(name)
        return row.loads[-1] if row is not None and row.loads else None

    def __len__(self) -> int:
        return sum(row.is_defined for row in self._rows.values())

    def __contains__(self, name: object) -> bool:
        row = self._rows.get(name)  # type: ignore[call-overload]  # any object may be asked for
        return row is not None and row.is_defined

    @property
    def next_due(self) -> datetime | None:
        """When the next schedule is to be decided; may have passed. None where none will be."""
        self._drop_outdated()
        return self._heap[0][0] if self._heap else None

    @property
    def next_preparation(self) -> datetime | None:
        """When `prepare` will have something; may have passed. None where it never will."""
        return self._soon[0][0] - _LEAD if self._soon else None

    def prepare(self, now: datetime, limit: int) -> list[Change]:
        """Decide some schedules that are due within the next second, at most `limit`; return what `take` will return for them.

        It does so if nothing changes, and if it is called in time: for what comes later it decides again.
        """
        prepared: list[Change] = []
        while self._soon and self._soon[0][0] - _LEAD <= now and limit > 0:
            due, turn, name = heapq.heappop(self._soon)
            row = self._rows.get(name)
            if row is None or row.turn != turn or row.is_held or not row.is_defined:
                continue
            limit -= 1
            decision = _decide(row, due, None, _MOST)
            if decision.occurrences:
                row.ready = decision
                prepared.append(Change(name, decision, row.loads[-1]))
        return prepared

    def take(
        self, now: datetime, *, watching_since: datetime | None = None, limit: int = 5000
    ) -> list[Change]:
        """Decide the schedules whose time has come and that have something to be done.

        Args:
            now: The present instant.
            watching_since: See `taskq.scheduling.occurrences.decide`.
            limit: Stop after so many occurrences.

        Returns:
            What is to be carried out: occurrences that are to be sent, and states that are to be stored, also without any. These
            schedules are out until `settle`.
        """
        taken: list[Change] = []
        count = 0
        while count < limit:
            self._drop_outdated()
            if not self._heap or self._heap[0][0] > now:
                break
            due, _, name = heapq.heappop(self._heap)
            row = self._rows[name]
            if row.is_held or not row.is_defined:
                continue
            decision = _still_right(row.ready, due, now)
            if decision is None:
                decision = _decide(row, now, watching_since, min(_MOST, limit - count))
            if decision.state is row.state:
                self._queue(name, decision.next_due)
            else:
                row.is_out = True
                taken.append(Change(name, decision, row.loads[-1]))
                count += max(1, len(decision.occurrences))
        return taken

    def settle(self, name: str, decision: Decision) -> None:
        """Take over the state of a decision that was carried out; nothing happens if the schedule is gone."""
        row = self._rows.get(name)
        cursor = decision.state.cursor
        if row is None or not row.is_out:  # removed meanwhile, and perhaps added again
            self._floors[name] = max(cursor, self._floors.get(name, _AT_ONCE))
            if row is not None:
                row.floor = self._floors[name]
            return
        row.state, row.is_out = decision.state, False
        row.loads = _left(row.loads, row.state)
        if row.is_touched:
            row.is_touched = False
            self._wake(name)
        else:
            self._queue(name, decision.next_due)

    def _row(self, name: str) -> _Row:
        return self._rows.setdefault(name, _Row())

    def _wake(self, name: str) -> None:
        row = self._rows[name]
        if row.is_out:
            row.is_touched = True
        else:
            self._queue(name, _AT_ONCE)

    def _queue(self, name: str, at: datetime | None) -> None:
        if at is None:
            return
        self._turns += 1
        row = self._rows[name]
        row.turn, row.ready = self._turns, None
        heapq.heappush(self._heap, (at, self._turns, name))
        if at is not _AT_ONCE:
            heapq.heappush(self._soon, (at, self._turns, name))

    def _drop_outdated(self) -> None:
        while self._heap:
            _, turn, name = self._heap[0]
            row = self._rows.get(name)
            if row is not None and row.turn == turn:
                return
            heapq.heappop(self._heap)


def _still_right(decision: Decision | None, due: datetime, now: datetime) -> Decision | None:
    """Return a decision that was taken for `due`, if it is what would be decided now."""
    if decision is None or now - due > _LATEST:
        return None
    following = decision.next_due
    return decision if following is None or following > now else None


def _decide(row: _Row, now: datetime, watching_since: datetime | None, limit: int) -> Decision:
    """Decide one schedule by all of its definitions and its pause."""
    pause = row.pause
    start = row.state
    if start is None:
        start = begin(row.loads[0], row.floor)
    left_out: LeftOut | None = None
    for since, until in () if pause is None else pause.spans:
        if until is not None and start.cursor >= until:
            continue
        decision = _decide_by_all(row.loads, start, min(now, since), watching_since, limit)
        left_out = _joined(left_out, decision.left_out)
        decision = replace(decision, left_out=left_out)
        if decision.occurrences:
            return decision
        if until is None:
            is_due = decision.next_due is not None and decision.next_due <= since
            return decision if is_due else replace(decision, next_due=None)
        start = replace(decision.state, cursor=max(decision.state.cursor, until))
    after = _decide_by_all(row.loads, start, now, watching_since, limit)
    return replace(after, left_out=_joined(left_out, after.left_out))


def _decide_by_all(
    loads: list[Definition],
    state: State,
    now: datetime,
    watching_since: datetime | None,
    limit: int,
) -> Decision:
    """Decide by the definition in force and by those that came after it, each in its turn."""
    occurrences: tuple[Occurrence, ...] = ()
    left_out: LeftOut | None = None
    while True:
        coming = _coming(loads, state)
        following = coming[0] if coming else state.definition
        decision = decide(
            state,
            following,
            now,
            watching_since=watching_since,
            until=coming[1].effective_from if len(coming) > 1 else None,
            limit=limit - len(occurrences),
        )
        occurrences += decision.occurrences
        left_out = _joined(left_out, decision.left_out)
        state = decision.state
        if len(coming) < 2 or state.definition != following or decision.next_due is not None:
            return replace(decision, occurrences=occurrences, left_out=left_out)


def _coming(loads: list[Definition], state: State) -> list[Definition]:
    """Return the definitions that are to take over one after the other; what changes nothing is left out."""
    coming: list[Definition] = []
    current = state.definition
    for each in _left(loads, state):
        definition = _same_birth(each, current)
        if definition.entry != current.entry or definition.born != current.born:
            coming.append(definition)
            current = definition
    return coming


def _left(loads: list[Definition], state: State) -> list[Definition]:
    """Return the definitions that are not older than the one in force, and at least the newest."""
    current = state.definition
    left = [each for each in loads if each.effective_from > current.effective_from]
    return left or loads[-1:]


def _same_birth(definition: Definition, current: Definition) -> Definition:
    """Let loads that happened at once add a schedule once."""
    if timedelta(0) < definition.born - current.born <= _SAME_LOAD:
        return replace(definition, born=current.born)
    return definition


def _joined(first: LeftOut | None, second: LeftOut | None) -> LeftOut | None:
    if first is None or second is None:
        return first or second
    return LeftOut(first.first, second.last)
