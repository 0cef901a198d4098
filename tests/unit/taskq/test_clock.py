from __future__ import annotations

import threading
from datetime import timezone

import pytest

from taskq.clock import Clock, SystemClock, unix_ms
from tests.support.clock import START, FakeClock


def test_the_systems_clock_is_in_utc() -> None:
    clock: Clock = SystemClock()

    assert clock.now().tzinfo is timezone.utc
    assert clock.now().timestamp() == pytest.approx(clock.time(), abs=5)


@pytest.mark.parametrize("timeout", [-1.0, 0.0, 1e12])
def test_waits_of_any_length_are_possible(timeout: float) -> None:
    event = threading.Event()
    if timeout > 0:
        event.set()

    assert SystemClock().wait(event, timeout) is event.is_set()


def test_a_fake_clock_moves_by_hand_alone() -> None:
    clock = FakeClock()

    clock.advance(2.5)

    assert clock.monotonic() == 2.5
    assert (clock.now() - START).total_seconds() == 2.5


def test_a_fake_clock_ends_waits_when_it_is_moved() -> None:
    clock: FakeClock = FakeClock()
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(clock.wait(threading.Event(), 60)))
    thread.start()
    clock.wait_for_sleeper()

    clock.advance(60)
    thread.join(5)

    assert ended == [False]


def test_milliseconds_are_rounded_down() -> None:
    clock = FakeClock()

    clock.advance(0.0129)

    assert unix_ms(clock) == int(START.timestamp()) * 1000 + 12
