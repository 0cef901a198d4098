"""Many schedules: which changed with a load, and which are to be decided now.

Pure: no clock, no file, no broker. The rules of one schedule are in `taskq.occurrences`. One thread owns a timetable.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from taskq.occurrences import Decision, Definition, State, begin, decide


@dataclass(frozen=True, slots=True)
class Changes:
    """What a load changes, by the schedules' names, sorted."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def compare(old: Mapping[str, Definition], new: Iterable[Definition]) -> Changes:
    """Return what would change if `new` took the place of `old`; when and from where they were loaded does not count."""
    by_name = {definition.name: definition for definition in new}
    kept = old.keys() & by_name.keys()
    return Changes(
        added=tuple(sorted(by_name.keys() - old.keys())),
        changed=tuple(sorted(name for name in kept if old[name].entry != by_name[name].entry)),
        removed=tuple(sorted(old.keys() - by_name.keys())),
    )


@dataclass(slots=True)
class _Row:
    definition: Definition
    """The newest one."""

    state: State
    out: Definition | None = None
    """What the decision was taken by that has not been settled; None where there is none."""

    turn: int = 0
    """The number of its newest entry in the heap: all others are outdated."""


class Timetable:
    """Schedules, how far they have come, and when each is to be decided next.

    A schedule whose decision was taken is out until `settle` brings the state that followed from it: so a decision that could not
    be carried out is neither repeated nor passed over.
    """

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._heap: list[tuple[datetime, int, str]] = []
        self._turns = 0

    def definitions(self, origin: str) -> dict[str, Definition]:
        """Return the newest definitions that came from an origin, by name."""
        return {
            name: row.definition
            for name, row in self._rows.items()
            if row.definition.origin == origin
        }

    def definition(self, name: str) -> Definition | None:
        """Return the newest definition of a schedule, if there is one."""
        row = self._rows.get(name)
        return None if row is None else row.definition

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def load(self, origin: str, definitions: Sequence[Definition]) -> Changes:
        """Let definitions take the place of all that came from the same origin; what stays the same is not touched."""
        changes = compare(self.definitions(origin), definitions)
        for name in changes.removed:
            del self._rows[name]
        by_name = {definition.name: definition for definition in definitions}
        for name in changes.added:
            self._rows[name] = _Row(by_name[name], begin(by_name[name]))
            self._queue(name, by_name[name].effective_from)
        for name in changes.changed:
            row = self._rows[name]
            row.definition = by_name[name]
            if row.out is None:  # otherwise `settle` sees that it has changed
                self._queue(name, by_name[name].effective_from)
        return changes

    @property
    def next_due(self) -> datetime | None:
        """When the next schedule is to be decided; may have passed. None where none will be."""
        self._drop_outdated()
        return self._heap[0][0] if self._heap else None

    def take(
        self, now: datetime, *, watching_since: datetime | None = None, limit: int = 5000
    ) -> list[Decision]:
        """Decide the schedules whose time has come and that have something to be done.

        Args:
            now: The present instant.
            watching_since: See `taskq.occurrences.decide`.
            limit: Stop after so many occurrences (one schedule may go beyond it); take again for the others.

        Returns:
            Decisions with occurrences; their schedules are out until `settle`. Also such that only leave occurrences out.
        """
        taken: list[Decision] = []
        count = 0
        while count < limit:
            self._drop_outdated()
            if not self._heap or self._heap[0][0] > now:
                break
            _, _, name = heapq.heappop(self._heap)
            row = self._rows[name]
            row.out = row.definition
            decision = decide(row.state, row.definition, now, watching_since=watching_since)
            if decision.occurrences or decision.left_out:
                taken.append(decision)
                count += len(decision.occurrences)
            else:
                self.settle(name, decision)
        return taken

    def settle(self, name: str, decision: Decision) -> None:
        """Take over the state that follows from a decision that was carried out; nothing happens if the schedule is gone."""
        row = self._rows.get(name)
        if row is None:
            return
        row.state = decision.state
        decided_by, row.out = row.out, None
        if row.definition != decided_by:  # changed since
            self._queue(name, row.definition.effective_from)
        elif decision.next_due is not None:
            self._queue(name, decision.next_due)

    def _queue(self, name: str, at: datetime) -> None:
        self._turns += 1
        self._rows[name].turn = self._turns
        heapq.heappush(self._heap, (at, self._turns, name))

    def _drop_outdated(self) -> None:
        while self._heap:
            _, turn, name = self._heap[0]
            row = self._rows.get(name)
            if row is not None and row.turn == turn:
                return
            heapq.heappop(self._heap)
