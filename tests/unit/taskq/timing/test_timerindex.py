"""Which timers wait: whatever is entered and taken out, the index has what a plain dict has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskq.timing.timerindex import HASH_BITS, KEY_BITS, TimerIndex


def entry(id: int, key: int, above: int = 0) -> int:
    return above << HASH_BITS | id << KEY_BITS | key


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 9)), max_size=60))
def test_it_has_what_was_entered_and_not_taken_out(steps: list[tuple[int, int, int]]) -> None:
    index, model = TimerIndex(), dict[tuple[int, int], int]()

    for id, key, above in steps:
        old = model.pop((id, key), None)
        assert index.get(id, key) == old
        if old is not None:
            index.remove(old)
        if above:
            index.add(model.setdefault((id, key), entry(id, key, above)))

        assert len(index) == len(model)
        assert sorted(index.of(id)) == sorted(
            each for (found, _), each in model.items() if found == id
        )
    assert all(each in index for each in model.values())


def test_an_entry_with_the_same_hashes_is_another_one() -> None:
    index = TimerIndex()
    index.add(entry(1, 2, above=3))

    assert entry(1, 2, above=4) not in index
    assert index.get(1, 5) is None
    assert index.get(5, 2) is None


def test_what_it_returned_stays_as_it_was() -> None:
    index = TimerIndex()
    for key in range(3):
        index.add(entry(1, key))

    for each in index.of(1):
        index.remove(each)

    assert (len(index), index.of(1)) == (0, ())
