"""What a pool process and its parent share; the other process is a fork of the test's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from taskq.worker.pools.childstate import DONE, RECALL_TO, STARTED, ChildState


@pytest.fixture
def state() -> Iterator[ChildState]:
    state = ChildState.new()
    yield state
    state.close()


def elsewhere(look: Callable[[], bool]) -> bool:
    """Return what a function returns in a copy of this process, which ends after it."""
    pid = os.fork()
    if not pid:
        code = 2
        try:
            code = 0 if look() else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1)
    return code == 0


def test_numbers_begin_at_zero_and_are_seen_by_the_other(state: ChildState) -> None:
    assert list(state.numbers) == [0, 0, 0, 0]

    def write() -> bool:
        state.numbers[STARTED], state.numbers[RECALL_TO] = 2**40, 7
        return True

    assert elsewhere(write)
    assert (state.numbers[STARTED], state.numbers[DONE], state.numbers[RECALL_TO]) == (2**40, 0, 7)


def test_lock_keeps_the_other_process_out_until_it_is_let_go(state: ChildState) -> None:
    state.lock()
    while_held = elsewhere(state.try_lock)
    state.unlock()

    assert not while_held
    assert elsewhere(state.try_lock)


def test_lock_of_a_process_that_ended_is_free(state: ChildState) -> None:
    assert elsewhere(state.try_lock)  # it ends with it

    assert state.try_lock()


def test_a_closed_one_cannot_be_locked_and_can_be_read(state: ChildState) -> None:
    state.numbers[DONE] = 3

    state.close()
    state.close()

    assert not state.try_lock()
    assert state.numbers[DONE] == 3
