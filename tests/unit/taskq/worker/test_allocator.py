from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from taskq.worker.allocator import AHEAD_BYTES, Allocator, Grant
from taskq.worker.runtimes import SHORT_NS, Runtimes


@dataclass(eq=False)
class Item:
    task: str
    size: int = 300
    lane: int = -1
    cost_ns: int = 0
    ahead_bytes: int = 0
    is_suspect: bool = False


def _allocator(widths: list[int], *, ahead: int = 64, **seconds: float) -> Allocator:
    runtimes = Runtimes()
    for task, took in seconds.items():
        runtimes.observe(task, took)
    return Allocator(widths, runtimes, claim_ahead=ahead)


def _items(task: str, count: int) -> list[Item]:
    return [Item(task) for _ in range(count)]


def _count(grants: list[Grant]) -> int:
    return grants[-1].stop if grants else 0


def test_unknown_tasks_fill_free_slots_only() -> None:
    allocator = _allocator([1, 1, 1])

    grants = allocator.place("q", _items("a", 10))

    assert [grant.lane for grant in grants] == [0, 1, 2]
    assert _count(grants) == 3


def test_short_tasks_are_claimed_ahead_up_to_ten_milliseconds_of_work_a_slot() -> None:
    allocator = _allocator([1, 1], a=0.001)

    grants = allocator.place("q", _items("a", 100))

    assert _count(grants) == 20


def test_no_more_than_claim_ahead_records_wait_behind_a_slot() -> None:
    allocator = _allocator([1], ahead=5, a=0.000001)

    assert _count(allocator.place("q", _items("a", 100))) == 6


def test_claim_ahead_0_switches_it_off() -> None:
    allocator = _allocator([1], ahead=0, a=0.000001)

    assert _count(allocator.place("q", _items("a", 100))) == 1


def test_nothing_goes_behind_a_long_task() -> None:
    allocator = _allocator([1], a=0.000001)
    allocator.place("q", [Item("long")])

    assert allocator.place("q", _items("a", 5)) == []


def test_a_long_task_goes_behind_nothing() -> None:
    allocator = _allocator([1], a=0.000001)
    allocator.place("q", [Item("a")])

    assert allocator.place("q", [Item("long")]) == []


def test_nothing_goes_behind_a_task_found_slow() -> None:
    allocator = _allocator([1], a=0.000001)
    running = Item("a")
    allocator.place("q", [running])

    allocator.found_slow(running)

    assert allocator.place("q", _items("a", 5)) == []
    allocator.release([running])
    assert _count(allocator.place("q", _items("a", 5))) == 5


def test_a_task_that_ended_before_it_was_found_slow_leaves_no_trace() -> None:
    allocator = _allocator([1], a=0.000001)
    running = Item("a")
    allocator.place("q", [running])
    allocator.release([running])

    allocator.found_slow(running)

    assert _count(allocator.place("q", _items("a", 5))) == 5


def test_bytes_ahead_are_limited() -> None:
    allocator = _allocator([1], a=0.000001)

    items = [Item("a", size=AHEAD_BYTES // 4) for _ in range(10)]

    assert _count(allocator.place("q", items)) == 1 + 4


def test_a_large_record_takes_a_free_slot() -> None:
    allocator = _allocator([1])

    assert _count(allocator.place("q", [Item("a", size=5_000_000)])) == 1


def test_closed_lanes_get_nothing() -> None:
    allocator = _allocator([1, 1])

    allocator.set_open(0, False)

    assert [grant.lane for grant in allocator.place("q", _items("a", 5))] == [1]


def test_work_ahead_is_spread_over_the_lanes() -> None:
    allocator = _allocator([1, 1], a=0.0001)

    items = _items("a", 42)
    allocator.place("q", items)

    assert [item.lane for item in items].count(0) == 21


def test_capacity_is_what_empty_lanes_take() -> None:
    for took in (0.0001, 0.002, 0.02):
        allocator = _allocator([1, 1, 1], a=took)

        assert allocator.capacity("a") == _count(allocator.place("q", _items("a", 1000)))


def test_capacity_is_the_same_while_slots_are_busy() -> None:
    allocator = _allocator([1, 2], a=0.002)
    before = allocator.capacity("a")

    allocator.place("q", _items("a", 9))

    assert allocator.capacity("a") == before > 3


def test_of_an_unknown_task_there_is_capacity_for_one_a_slot() -> None:
    allocator = _allocator([1, 2], a=0.002)

    assert allocator.capacity("b") == allocator.capacity(None) == 3


def test_queues_take_turns_at_a_single_slot() -> None:
    allocator = _allocator([1])
    turns = []
    allocator.place("first", [running := Item("x")])
    for queue in ("a", "b", "c"):
        assert allocator.place(queue, [Item(queue)]) == []

    for _ in range(6):
        allocator.release([running])
        for queue in ("c", "b", "a"):
            if allocator.place(queue, [item := Item(queue)]):
                running = item
                turns.append(queue)
                allocator.place(queue, [Item(queue)])

    assert turns == ["a", "b", "c", "a", "b", "c"]


def test_short_tasks_of_a_busy_queue_do_not_keep_a_long_one_from_a_slot() -> None:
    allocator = _allocator([1], short=0.000001)
    held = _items("short", 10)
    allocator.place("busy", held)
    assert allocator.place("other", [long := Item("long")]) == []

    allocator.release(held[:9])
    assert allocator.place("busy", _items("short", 5)) == []
    allocator.release(held[9:])

    assert allocator.place("busy", _items("short", 5)) == []
    assert _count(allocator.place("other", [long])) == 1


def test_a_queue_that_left_the_line_holds_nobody_up() -> None:
    allocator = _allocator([1])
    allocator.place("a", [running := Item("x")])
    allocator.place("gone", [Item("x")])
    allocator.leave_line("gone")

    allocator.release([running])

    assert _count(allocator.place("b", [Item("x")])) == 1


TASKS = {"fast": 0.000_01, "short": 0.003, "long": 0.5}


class AllocatorMachine(RuleBasedStateMachine):
    """Any order of places, releases, recalls and lanes coming and going keeps the rules."""

    @initialize(
        widths=st.one_of(
            st.lists(st.just(1), min_size=1, max_size=4),
            st.integers(1, 6).map(lambda width: [width]),
        ),
        ahead=st.sampled_from([0, 1, 64]),
    )
    def begin(self, widths: list[int], ahead: int) -> None:
        self.widths, self.ahead = widths, ahead
        self.allocator = _allocator(widths, ahead=ahead, **TASKS)
        self.held: list[Item] = []

    @rule(
        queue=st.sampled_from("abc"),
        wanted=st.lists(
            st.tuples(st.sampled_from([*TASKS, "unknown"]), st.sampled_from([100, 40_000])),
            max_size=90,
        ),
    )
    def place(self, queue: str, wanted: list[tuple[str, int]]) -> None:
        items = [Item(task, size) for task, size in wanted]
        grants = self.allocator.place(queue, items)
        assert [grant.start for grant in grants] == [0, *(grant.stop for grant in grants)][:-1]
        for grant in grants:
            assert {item.lane for item in items[grant.start : grant.stop]} == {grant.lane}
        self.held += items[: _count(grants)]

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        chosen = (
            data.draw(st.lists(st.sampled_from(range(len(self.held))), unique=True))
            if self.held
            else []
        )
        self.allocator.release([self.held[index] for index in chosen])
        self.held = [item for index, item in enumerate(self.held) if index not in chosen]

    @rule(data=st.data())
    def find_slow(self, data: st.DataObject) -> None:
        if self.held:
            self.allocator.found_slow(data.draw(st.sampled_from(self.held)))

    @rule(data=st.data(), is_open=st.booleans())
    def turn_lane(self, data: st.DataObject, is_open: bool) -> None:
        self.allocator.set_open(data.draw(st.sampled_from(range(len(self.widths)))), is_open)

    @rule(queue=st.sampled_from("abc"))
    def leave_line(self, queue: str) -> None:
        self.allocator.leave_line(queue)

    @invariant()
    def no_lane_holds_too_much(self) -> None:
        assert self.allocator.held == len(self.held)
        for index, width in enumerate(self.widths):
            mine = [item for item in self.held if item.lane == index]
            assert len(mine) <= width * (1 + self.ahead)
            assert sum(item.ahead_bytes for item in mine) <= AHEAD_BYTES * width
            short = sum(item.cost_ns for item in mine if item.cost_ns > 0)
            assert short <= SHORT_NS * width
            if len(mine) > width:
                assert self.allocator.is_ahead(index)

    @invariant()
    def the_first_in_line_gets_a_free_slot(self) -> None:
        line = list(self.allocator._line)
        if line and self.allocator.free:
            item = Item("unknown")
            assert self.allocator.place(line[0], [item])
            self.held.append(item)


TestAllocatorMachine = AllocatorMachine.TestCase
TestAllocatorMachine.settings = settings(max_examples=60, stateful_step_count=25)


@given(
    lanes=st.integers(1, 4),
    demands=st.lists(st.sampled_from("abc"), min_size=1, max_size=60),
)
def test_a_waiting_queue_is_served_within_one_round(lanes: int, demands: list[str]) -> None:
    allocator = _allocator([1] * lanes)
    running = _items("x", lanes)
    allocator.place("first", running)
    waited = dict.fromkeys("abc", 0)

    for _ in demands:
        allocator.release([running.pop(0)])
        served = None
        for queue in "abc":
            item = Item(queue)
            if allocator.place(queue, [item]):
                running.append(item)
                served = queue
        for queue in waited:
            waited[queue] = 0 if queue == served else waited[queue] + 1

        assert max(waited.values()) <= 3


def test_a_lane_is_filled_again_when_half_of_what_it_may_hold_is_used_up() -> None:
    allocator = _allocator([1], ahead=10, a=0.000001)
    held = _items("a", 11)
    allocator.place("q", held)

    allocator.release(held[:4])
    assert allocator.place("q", _items("a", 5)) == []
    allocator.release(held[4:5])

    assert _count(allocator.place("q", _items("a", 9))) == 5


def test_tasks_that_cost_about_the_same_are_placed_in_one_go() -> None:
    allocator = _allocator([1], a=0.00001, b=0.00002, c=0.005)

    items = [Item("a"), *(Item("ab"[index % 2]) for index in range(20))]

    assert len(allocator.place("q", items)) == 2
    assert {item.cost_ns for item in items[1:]} == {20_000}


def _suspect() -> Item:
    return Item("s", is_suspect=True)


def test_a_suspect_gets_a_process_of_its_own_and_nothing_ahead_of_it() -> None:
    allocator = _allocator([1, 1], s=0.0001, a=0.0001)
    suspect = _suspect()

    grants = allocator.place("q", [suspect, *_items("a", 20)])

    assert grants[0] == Grant(suspect.lane, 0, 1)
    assert [grant.lane for grant in grants[1:]].count(suspect.lane) == 0


def test_a_suspect_is_never_claimed_ahead() -> None:
    allocator = _allocator([1], s=0.0001)
    allocator.place("q", _items("s", 1))

    assert allocator.place("q", [_suspect()]) == []


def test_a_suspect_shuts_a_shared_process_until_it_ends() -> None:
    allocator = _allocator([4])
    suspect = _suspect()

    alone = allocator.place("q", [suspect, *_items("a", 3)])
    beside = allocator.place("other", _items("a", 1))
    allocator.release([suspect])
    after = allocator.place("other", _items("a", 1))

    assert (len(alone), beside, len(after)) == (1, [], 1)


def test_others_make_room_for_a_suspect_in_a_shared_process() -> None:
    allocator = _allocator([2])
    running = _items("a", 1)
    allocator.place("other", running)
    suspect = _suspect()

    waits = allocator.place("q", [suspect])
    beside = allocator.place("other", _items("a", 1))
    allocator.release(running)
    beside_again = allocator.place("other", _items("a", 1))
    placed = allocator.place("q", [suspect])

    assert (waits, beside, beside_again, len(placed)) == ([], [], [], 1)


def test_a_suspect_that_is_let_off_runs_in_company() -> None:
    allocator = _allocator([2])
    allocator.place("other", _items("a", 1))
    suspect = _suspect()
    allocator.place("q", [suspect])

    allocator.let_off(suspect)

    assert len(allocator.place("q", [suspect])) == 1


def test_a_suspect_that_is_let_off_while_it_runs_lets_others_in() -> None:
    allocator = _allocator([2])
    suspect = _suspect()
    allocator.place("q", [suspect])

    allocator.let_off(suspect)

    assert len(allocator.place("other", _items("a", 2))) == 1


def test_a_queue_whose_suspect_is_gone_stops_nobody() -> None:
    allocator = _allocator([2])
    allocator.place("other", _items("a", 1))
    allocator.place("q", [_suspect()])

    allocator.leave_line("q")

    assert len(allocator.place("other", _items("a", 1))) == 1


def test_who_leaves_with_a_suspect_that_waits_for_others_to_end_was_waited_for() -> None:
    allocator = _allocator([3])
    allocator.place("other", _items("a", 1))
    assert _count(allocator.place("q", [*_items("a", 1), _suspect()])) == 1

    assert allocator.leave_line("q")
    assert not allocator.leave_line("q")
