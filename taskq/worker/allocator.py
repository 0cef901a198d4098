"""Which slot a record gets, and which queue's turn it is. Pure: no threads, clock or I/O.

A pool is a row of lanes: prefork has N lanes of one slot (a child each), the other pools one lane of N slots. A lane runs as many
tasks as it has slots; what it holds beyond that is claimed ahead. Three rules:

- A free slot takes any task. Free slots are filled first, spread over the lanes.
- Ahead goes only what is short: the lane holds nothing long, all it holds is worth at most 10 ms a slot, `claim_ahead` records a
  slot and 64 KiB a slot; it is filled again when half of that is used up.
- A suspect (what may have killed a worker) is alone at work in its process: in a lane of one slot with nothing ahead, in another
  one the lane is emptied for it first, and others wait until it has ended or is let off.
- Queues take turns. One that could not be served waits in line; each of those before another in the line keeps one free slot, and
  while a queue waits only the head of the line may claim ahead. So short tasks never keep a long one from a slot.
- A higher priority step goes first: while a queue of it waits, those of lower ones get nothing. One that was served is waited for
  until it says that it wants no more: else lower ones would slip in while its claim is under way. But every tenth record is of a
  lower step, if one waits: one that has seen nine of higher steps placed is due, the lowest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from taskq.worker.runtimes import LONG, SHORT_NS, Runtimes

AHEAD_BYTES = 64 * 1024
"""Bytes a lane may hold ahead for each of its slots. Less than a socket's buffer: a child that does not read costs nothing here."""

_ALIKE = 4
"""Tasks whose averages differ by less than this factor are placed together, each at the price of the dearest."""

_PATIENCE = 9
"""Records of higher steps that may be placed while a step waits, before one of it is."""


class Placeable(Protocol):
    """What the allocator needs of a delivery: `task`, `size` (bytes), `is_suspect`; the rest is the reservation, written here."""

    task: str
    size: int
    is_suspect: bool
    lane: int
    cost_ns: int
    ahead_bytes: int


@dataclass(frozen=True, slots=True)
class Grant:
    """A reservation: the deliveries `start` to `stop` (exclusive) of those that were offered go to one lane."""

    lane: int
    start: int
    stop: int


class _Lane:
    """What one lane holds."""

    __slots__ = (
        "ahead_bytes",
        "count",
        "expected_ns",
        "index",
        "is_shut",
        "long",
        "open",
        "width",
    )

    def __init__(self, index: int, width: int) -> None:
        self.index = index
        self.width = width
        self.open = True
        self.is_shut = False
        """A suspect is alone in it."""

        self.count = 0
        self.long = 0
        self.expected_ns = 0
        self.ahead_bytes = 0

    @property
    def free(self) -> int:
        return max(0, self.width - self.count) if self.open and not self.is_shut else 0


class Allocator:
    """Reservations of slots. Its owner sees to it that one thread at a time is inside."""

    def __init__(self, widths: Sequence[int], runtimes: Runtimes, *, claim_ahead: int) -> None:
        """Make the lanes.

        Args:
            widths: The number of slots of each lane.
            runtimes: Tells which tasks are short.
            claim_ahead: Records a slot may hold ahead at most; 0 switches claiming ahead off.
        """
        self._lanes = [_Lane(index, width) for index, width in enumerate(widths)]
        self._runtimes = runtimes
        self._claim_ahead = claim_ahead
        self._line: dict[str, int] = {}
        """Who waits, longest first, and in which step."""

        self._expected: dict[str, int] = {}
        """Who was served and may want more, of steps above 0."""

        self._passed: dict[int, int] = {}
        """For a step that waits how many records of higher ones were placed meanwhile; nine for each of its own taken off."""

        self._wants_alone: str | None = None
        """The queue for whose suspect a lane is being emptied."""

    # Questions

    @property
    def free(self) -> int:
        """How many slots are free in the open lanes."""
        return sum(lane.free for lane in self._lanes)

    @property
    def held(self) -> int:
        """How many deliveries hold a reservation."""
        return sum(lane.count for lane in self._lanes)

    @property
    def busy(self) -> int:
        """How many slots have a delivery, or are reserved for one."""
        return sum(min(lane.count, lane.width) for lane in self._lanes)

    def is_ahead(self, index: int) -> bool:
        """Return whether a lane holds more than it has slots."""
        lane = self._lanes[index]
        return lane.count > lane.width

    def capacity(self, task: str | None) -> int:
        """Return how many records of one task all lanes can hold, with what is claimed ahead (None: of an unknown one)."""
        cost = self._runtimes.short_ns(task) if task is not None else None
        if cost is None:
            return sum(lane.width for lane in self._lanes)
        return sum(self._most(lane, cost) for lane in self._lanes)

    # The line of waiting queues

    def wait_in_line(self, queue: str, step: int = 0) -> None:
        """Put a queue that has a record in hand at the end of the line, unless it stands there already."""
        self._line.setdefault(queue, step)
        self._expected.pop(queue, None)

    def leave_line(self, queue: str) -> bool:
        """Take a queue out of the line; it wants nothing now. Return whether anybody had to wait for it."""
        was_waited_for = (
            queue in self._line or queue in self._expected or self._wants_alone == queue
        )
        step = self._line.pop(queue, None)
        self._expected.pop(queue, None)
        if step in self._passed and step not in self._line.values():
            del self._passed[step]
        if self._wants_alone == queue:
            self._wants_alone = None
        return was_waited_for

    @property
    def is_shared(self) -> bool:
        """Whether lanes run several tasks at a time in one process, so that a suspect stops the others."""
        return any(lane.width > 1 for lane in self._lanes)

    # Reservations

    def place(self, queue: str, deliveries: Sequence[Placeable], step: int = 0) -> list[Grant]:
        """Reserve slots for as many of the deliveries as possible: for a prefix, in order.

        A queue that got something leaves the line, one that got nothing joins it. One of a step above 0 that got something is
        expected to come again until it leaves the line: lower steps get nothing meanwhile.

        Args:
            queue: Whose they are.
            deliveries: What it has in hand, oldest first.
            step: Its priority step; always the same one for a queue.

        Returns:
            The grants, in the order of the deliveries and without gaps.
        """
        if self._wants_alone == queue:  # wanted again below, if its suspect still waits
            self._wants_alone = None
        free, ahead, most = self._share(queue, step)
        if most is not None:
            deliveries = deliveries[:most]
        grants: list[Grant] = []
        placed = self._fill_slots(queue, deliveries, free, grants)
        if placed < len(deliveries) and ahead:
            self._fill_ahead(deliveries, placed, grants, step)
        if grants:
            self._line.pop(queue, None)
            if step or self._passed:
                self._count_passed(step, grants[-1].stop)
            if step:
                self._expected[queue] = step
        elif deliveries:
            self.wait_in_line(queue, step)
        return grants

    def place_returned(self, delivery: Placeable) -> bool:
        """Reserve a free slot for a delivery that was claimed before and came back; it stands before every queue."""
        lane = self._most_free()
        if lane is None:
            return False
        self._take(lane, delivery)
        return True

    def release(self, deliveries: Iterable[Placeable]) -> None:
        """Give reservations back: the deliveries ended, came back, or were not granted."""
        lanes = self._lanes
        for delivery in deliveries:
            lane = lanes[delivery.lane]
            delivery.lane = -1
            lane.count -= 1
            lane.ahead_bytes -= delivery.ahead_bytes
            if delivery.is_suspect:
                lane.is_shut = False
            if delivery.cost_ns == LONG:
                lane.long -= 1
            else:
                lane.expected_ns -= delivery.cost_ns

    def found_slow(self, delivery: Placeable) -> None:
        """Count a delivery as long from now on, whatever its average said; does nothing if it has ended meanwhile."""
        if delivery.lane < 0 or delivery.cost_ns == LONG:
            return
        lane = self._lanes[delivery.lane]
        lane.expected_ns -= delivery.cost_ns
        lane.long += 1
        delivery.cost_ns = LONG

    def let_off(self, delivery: Placeable) -> None:
        """Treat a suspect as any other from now on: its lane takes others again, or need not be emptied for it."""
        if delivery.is_suspect and delivery.lane >= 0:
            self._lanes[delivery.lane].is_shut = False
        delivery.is_suspect = False
        self._wants_alone = None

    def set_open(self, index: int, is_open: bool) -> None:
        """Open or close a lane: a closed one gets nothing (its process is not there)."""
        self._lanes[index].open = is_open

    # Steps

    def _share(self, queue: str, step: int) -> tuple[int, bool, int | None]:
        """Return how many free slots a queue may take now, whether it may claim ahead, and how many records in all (None: any)."""
        if self._wants_alone not in (None, queue):
            return 0, False, None
        free = self.free
        if not self._line and not self._expected:
            return free, True, None
        most = None
        if any(other > step for other in (*self._line.values(), *self._expected.values())):
            most = self._passed.get(step, 0) // _PATIENCE
            if not most:
                return 0, False, None
        lower = {other for other in self._line.values() if other < step}
        # Slot for slot: nine of a higher step, then one of each lower one that waits.
        free -= sum((free + self._passed.get(each, 0)) // (_PATIENCE + 1) for each in lower)
        is_first = not any(self._passed.get(each, 0) >= _PATIENCE for each in lower)
        before, others = self._rivals(queue, step)
        if others:
            fair = -(-free // (others + 1))
            free, is_first = min(fair, free - before), is_first and not before
        return max(0, free), is_first, most

    def _rivals(self, queue: str, step: int) -> tuple[int, int]:
        """Return how many other queues of a step wait before one, and how many at all."""
        alike = [name for name, other in self._line.items() if other == step]
        if queue in alike:
            return alike.index(queue), len(alike) - 1
        return len(alike), len(alike)

    def _count_passed(self, step: int, count: int) -> None:
        """Note that so many of a step were placed: each lower step that waits has let them pass."""
        for lower in {other for other in self._line.values() if other < step}:
            self._passed[lower] = self._passed.get(lower, 0) + count
        left = self._passed.pop(step, 0) - _PATIENCE * count
        if left > 0:
            self._passed[step] = left

    def _most_free(self) -> _Lane | None:
        best = max(self._lanes, key=lambda lane: lane.free, default=None)
        return best if best is not None and best.free else None

    def _emptied(self, queue: str) -> _Lane | None:
        """Return a lane with nothing in it, for a suspect; where there is none, nobody else gets anything until there is."""
        lane = next((lane for lane in self._lanes if lane.free and not lane.count), None)
        self._wants_alone = queue if lane is None and self.is_shared else None
        return lane

    def _fill_slots(
        self, queue: str, deliveries: Sequence[Placeable], allowed: int, grants: list[Grant]
    ) -> int:
        placed = 0
        while placed < len(deliveries) and placed < allowed:
            delivery = deliveries[placed]
            lane = self._emptied(queue) if delivery.is_suspect else self._most_free()
            if lane is None:
                break
            self._take(lane, delivery)
            grants.append(Grant(lane.index, placed, placed + 1))
            placed += 1
        return placed

    def _take(self, lane: _Lane, delivery: Placeable) -> None:
        cost = None if delivery.is_suspect else self._runtimes.short_ns(delivery.task)
        lane.is_shut = delivery.is_suspect and lane.width > 1
        lane.count += 1
        if cost is None:
            lane.long += 1
        else:
            lane.expected_ns += cost
        delivery.lane = lane.index
        delivery.cost_ns = LONG if cost is None else cost
        delivery.ahead_bytes = 0

    def _fill_ahead(
        self, deliveries: Sequence[Placeable], start: int, grants: list[Grant], step: int
    ) -> None:
        """Place runs of tasks that cost about the same, so that a batch costs little per record."""
        total = len(deliveries)
        limit = self._ahead_limit(step)
        costs: dict[str, int | None] = {}
        while start < total and limit > 0:
            stop, cost = self._run_of_like(deliveries, start, min(total, start + limit), costs)
            if stop == start:
                return
            reached = self._fill_ahead_run(deliveries, start, stop, cost, grants)
            limit -= reached - start
            if reached < stop:
                return
            start = reached

    def _run_of_like(
        self, deliveries: Sequence[Placeable], start: int, end: int, costs: dict[str, int | None]
    ) -> tuple[int, int]:
        """Return where the run of tasks that cost about the same stops, and what the dearest of them costs."""
        first = dearest = 0
        last: str | None = None
        for index in range(start, end):
            task = deliveries[index].task
            if deliveries[index].is_suspect:
                return index, dearest
            if task == last:
                continue
            last = task
            if task not in costs:
                costs[task] = self._runtimes.short_ns(task)
            cost = costs[task]
            if cost is None or (first and not first <= cost * _ALIKE <= first * _ALIKE * _ALIKE):
                return index, dearest
            first = first or cost
            dearest = max(dearest, cost)
        return end, dearest

    def _ahead_limit(self, step: int) -> int:
        """Return how many records one queue may claim ahead in one go: while others of its step wait, its share of a full load."""
        slots = sum(lane.width for lane in self._lanes)
        limit = slots * self._claim_ahead
        if len(self._line) < 2:
            return limit
        waiting = sum(other == step for other in self._line.values())
        return -(-limit // max(1, waiting))

    def _fill_ahead_run(
        self, deliveries: Sequence[Placeable], start: int, stop: int, cost: int, grants: list[Grant]
    ) -> int:
        """Spread deliveries that cost the same over the lanes, those with the least to do first; return where it had to stop."""
        lanes = [lane for lane in self._lanes if not lane.free and self._room_ahead(lane, cost)]
        while start < stop and lanes:
            lanes.sort(key=lambda lane: lane.expected_ns)
            share = -(-(stop - start) // len(lanes))
            still: list[_Lane] = []
            for lane in lanes:
                wanted = min(share, stop - start)
                room = min(wanted, self._room_ahead(lane, cost))
                reached = self._take_ahead(lane, deliveries, start, start + room, cost)
                if reached > start:
                    grants.append(Grant(lane.index, start, reached))
                if reached - start == wanted:
                    still.append(lane)
                start = reached
            lanes = [lane for lane in still if self._room_ahead(lane, cost)]
        return start

    def _most(self, lane: _Lane, cost: int) -> int:
        """Return how many records of a cost a lane may hold, those that run and those ahead."""
        return min(SHORT_NS * lane.width // cost, lane.width * (self._claim_ahead + 1))

    def _room_ahead(self, lane: _Lane, cost: int) -> int:
        """Return how many records of a cost a lane may hold beyond what it holds."""
        if lane.long or not lane.open:
            return 0
        by_work = (SHORT_NS * lane.width - lane.expected_ns) // cost
        by_count = lane.width * (self._claim_ahead + 1) - lane.count
        room = min(by_work, by_count)
        # A lane is filled again when it is half empty: a claim costs a round trip, whether for one record or for fifty.
        whole = self._most(lane, cost) - lane.width
        return room if self._claim_ahead and room > 0 and 2 * room >= whole else 0

    def _take_ahead(
        self, lane: _Lane, deliveries: Sequence[Placeable], start: int, stop: int, cost: int
    ) -> int:
        limit = AHEAD_BYTES * lane.width
        room = limit - lane.ahead_bytes
        index = start
        lane_index = lane.index
        for delivery in deliveries[start:stop]:
            size = delivery.size
            if size > room:
                break
            room -= size
            delivery.lane = lane_index
            delivery.cost_ns = cost
            delivery.ahead_bytes = size
            index += 1
        lane.ahead_bytes = limit - room
        lane.count += index - start
        lane.expected_ns += cost * (index - start)
        return index
