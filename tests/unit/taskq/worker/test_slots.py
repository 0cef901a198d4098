from __future__ import annotations

from taskq.worker.pools.slots import Slots


def test_no_more_start_than_there_are_slots() -> None:
    slots: Slots[str] = Slots(2)

    assert slots.enter(["a", "b", "c"]) == ["a", "b"]
    assert slots.enter(["d"]) == []


def test_slot_that_ends_goes_to_the_first_in_line() -> None:
    slots: Slots[str] = Slots(1)
    slots.enter(["a", "b"])
    slots.enter(["c"])

    assert [slots.pass_on() for _ in range(3)] == ["b", "c", None]


def test_slot_that_nobody_waited_for_is_free() -> None:
    slots: Slots[str] = Slots(1)
    slots.enter(["a"])
    slots.pass_on()

    assert slots.enter(["b", "c"]) == ["b"]


def test_what_has_left_together_is_followed_by_as_many() -> None:
    slots: Slots[str] = Slots(3)
    slots.enter(["a", "b", "c", "d", "e", "f"])

    assert slots.leave(2) == ["d", "e"]
    assert slots.leave(3) == ["f"]
    assert slots.enter(["g", "h", "i"]) == ["g", "h"]
