"""Priority steps in the allocator: who gets the slots, and that nobody waits for ever."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from taskq.worker.allocator import Allocator
from taskq.worker.runtimes import SHORT_NS, Runtimes
from tests.unit.taskq.worker.test_allocator import Item, _allocator, _count, _items

STEPS = (0, 3, 6, 9)


@dataclass(eq=False)
class Queue:
    """A queue with a backlog that does not end."""

    name: str
    step: int = 0
    task: str = "long"

    def ask(self, allocator: Allocator, hand: int = 50) -> list[Item]:
        items = _items(self.task, hand)
        return items[: _count(allocator.place(self.name, items, self.step))]


LOW, HIGH = Queue("q"), Queue("q.p9", 9)


def _full(width: int = 1) -> tuple[Allocator, list[Item]]:
    """Return an allocator whose slots all run a low task."""
    allocator = _allocator([width])
    return allocator, LOW.ask(allocator)


def _served(allocator: Allocator, queues: list[Queue], rounds: int) -> list[Queue]:
    """Let queues that always want more ask in turn while tasks end one by one; return whose task got each slot that fell free."""
    running: deque[Item] = deque()
    served: list[Queue] = []
    for _ in range(rounds):
        for queue in queues:
            while placed := queue.ask(
                allocator
            ):  # it wants more, and is in line when the next slot falls free
                running += placed
                served += [queue] * len(placed)
        if running:
            allocator.release([running.popleft()])
    return served


def test_a_free_slot_is_the_highest_steps_whoever_waits_longer() -> None:
    allocator, running = _full()
    assert LOW.ask(allocator) == []
    assert HIGH.ask(allocator) == []

    allocator.release(running)

    assert LOW.ask(allocator) == []
    assert len(HIGH.ask(allocator)) == 1


def test_a_higher_step_that_was_served_keeps_its_place_until_it_wants_nothing() -> None:
    allocator, running = _full()
    assert HIGH.ask(allocator) == []
    allocator.release(running)
    running = HIGH.ask(allocator)
    assert LOW.ask(allocator) == []
    allocator.release(running)

    assert LOW.ask(allocator) == []
    allocator.leave_line(HIGH.name)
    assert len(LOW.ask(allocator)) == 1


def test_every_tenth_slot_is_the_lowest_steps_that_waits() -> None:
    served = _served(_allocator([1]), [HIGH, LOW], 100)

    places = [place for place, queue in enumerate(served) if queue is LOW]
    assert set(_gaps(places)) == {10}


def test_of_many_free_slots_every_tenth_is_the_lowest_steps() -> None:
    allocator, running = _full(32)
    assert LOW.ask(allocator) == []
    assert HIGH.ask(allocator) == []

    allocator.release(running)

    assert len(HIGH.ask(allocator)) == 29
    assert len(LOW.ask(allocator)) == 3


def test_a_step_that_nobody_passes_is_not_owed_anything() -> None:
    allocator, running = _full()
    assert LOW.ask(allocator) == []

    for _ in range(50):
        allocator.release(running)
        running = LOW.ask(allocator)
        assert len(running) == 1

    assert HIGH.ask(allocator) == []
    allocator.release(running)
    assert LOW.ask(allocator) == []
    assert len(HIGH.ask(allocator)) == 1


def test_nothing_low_goes_ahead_while_a_higher_step_waits() -> None:
    allocator = _allocator([1], a=0.001)
    low, high = Queue("q", 0, "a"), Queue("q.p9", 9, "new")
    running = low.ask(allocator)
    assert len(running) == 10
    assert high.ask(allocator) == []

    allocator.release(running[:6])

    assert low.ask(allocator) == []


def test_what_is_claimed_ahead_before_a_higher_step_is_at_most_ten_milliseconds_of_work() -> None:
    runtimes = Runtimes()
    runtimes.observe("a", 0.0005)
    allocator = Allocator([1, 1], runtimes, claim_ahead=64)

    ahead = Queue("q", 0, "a").ask(allocator)

    assert sum(item.cost_ns for item in ahead) <= 2 * SHORT_NS
    assert HIGH.ask(allocator) == []


def test_a_step_that_is_due_may_go_ahead_of_short_tasks_for_what_it_is_owed() -> None:
    allocator = _allocator([1], a=0.00001)
    low, high = Queue("q", 0, "a"), Queue("q.p9", 9, "a")
    running = high.ask(allocator, 100)
    assert len(running) == 65
    assert low.ask(allocator) == []
    allocator.release(running[:40])
    running = running[40:] + high.ask(allocator)
    assert len(running) > 25

    allocator.release(running[:50])

    assert high.ask(allocator) == []
    assert 0 < len(low.ask(allocator)) <= 40 // 9 + 1


def test_queues_of_one_step_take_turns() -> None:
    served = _served(_allocator([1]), [Queue("a.p9", 9), Queue("b.p9", 9), Queue("c.p9", 9)], 60)

    counts = Counter(queue.name for queue in served)
    assert (
        max(counts.values()) - min(counts.values()) <= 2
    )  # the first has a slot before the others come


@settings(max_examples=20)
@given(st.integers(1, 12), st.lists(st.sampled_from(STEPS), min_size=2, max_size=4))
def test_no_queue_that_waits_is_passed_over_for_ever(width: int, steps: list[int]) -> None:
    queues = [Queue(f"{place}", step) for place, step in enumerate(steps)]

    served = _served(_allocator([1] * width), queues, 60 * len(queues) + width)

    counts = Counter(queue.name for queue in served)
    assert set(counts) == {queue.name for queue in queues}
    by_step = Counter(queue.step for queue in served[width:])
    lowest, highest = min(steps), max(steps)
    if lowest != highest:
        # Others that are due take from the highest, never from the lowest.
        assert by_step[lowest] >= sum(by_step.values()) // 10 - width // 10 - 1
        assert by_step[highest] >= by_step[lowest]


@settings(max_examples=20)
@given(st.data())
def test_while_a_higher_step_waits_a_lower_one_gets_one_for_nine_that_passed_it_at_most(
    data: st.DataObject,
) -> None:
    allocator = _allocator([1] * data.draw(st.integers(1, 5)))
    queues = [Queue(f"{step}-{place}", step) for step in STEPS for place in range(2)]
    running: list[Item] = []
    waiting: set[Queue] = set()
    passed, squeezed_in = Counter[int](), Counter[int]()
    moves = st.tuples(st.sampled_from(queues), st.sampled_from(["ask", "ask", "end", "leave"]))
    for queue, move in data.draw(st.lists(moves, max_size=60)):
        if move == "leave":
            allocator.leave_line(queue.name)
            waiting.discard(queue)
        elif move == "end" and running:
            allocator.release([running.pop(0)])
        elif move == "ask":
            placed = queue.ask(allocator, 2)
            running += placed
            if any(other.step > queue.step for other in waiting):
                squeezed_in[queue.step] += len(placed)
            passed.update({step: len(placed) for step in STEPS if step < queue.step})
            assert 9 * squeezed_in[queue.step] <= passed[queue.step]
            waiting = waiting - {queue} if placed else waiting | {queue}

    allocator.release(running)
    assert allocator.held == 0


def _gaps(places: list[int]) -> list[int]:
    return [after - before for before, after in pairwise(places)]


def test_a_higher_queue_that_was_served_and_leaves_was_waited_for() -> None:
    allocator = _allocator([1])
    assert HIGH.ask(allocator)

    assert allocator.leave_line(HIGH.name)
    assert not allocator.leave_line(HIGH.name)
