from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskq.worker.pools.wire import FrameReader, frame

_messages = st.lists(
    st.lists(st.tuples(st.integers(), st.text(), st.none() | st.binary(max_size=300))), max_size=8
)


@given(messages=_messages, cuts=st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_messages_survive_any_cut_of_the_stream(messages: list[object], cuts: list[int]) -> None:
    stream = b"".join(map(frame, messages))
    reader = FrameReader()
    received: list[object] = []

    start, turn = 0, 0
    while start < len(stream):
        size = cuts[turn % len(cuts)]
        received += reader.feed(stream[start : start + size])
        start, turn = start + size, turn + 1

    assert received == messages


def test_an_empty_list_is_a_message() -> None:
    assert FrameReader().feed(frame([])) == [[]]
