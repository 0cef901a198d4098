"""The clock by which schedules are due: what counts as a break, and what is said of a clock that was set."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from taskq.scheduling.standby import StandBy
from tests.support.clock import START, FakeClock

HOUR = 3600.0


class SetClock(FakeClock):
    """A clock that may be set."""

    shift = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.shift


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_it_stands_by_since_its_start(clock: SetClock) -> None:
    standby = StandBy(clock)
    for _ in range(200):
        clock.advance(30)
        standby.look()

    assert standby.since == START


def test_milliseconds_are_rounded_down(clock: SetClock) -> None:
    standby = StandBy(clock)
    clock.advance(0.0019)

    assert standby.now_ms() == int(START.timestamp()) * 1000 + 1


def test_process_that_was_frozen_has_a_break(
    clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    standby = StandBy(clock)
    clock.advance(HOUR)

    standby.now_ms()

    assert standby.since == START + timedelta(hours=1)
    assert [r.event for r in caplog.records] == ["beat.stood_still"]  # type: ignore[attr-defined]


def test_short_freeze_is_none(clock: SetClock, caplog: pytest.LogCaptureFixture) -> None:
    standby = StandBy(clock)
    clock.advance(15)

    standby.look()

    assert standby.since == START
    assert caplog.records == []


def test_clock_set_forward_by_an_hour_is_a_break_and_is_said(
    clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    standby = StandBy(clock)
    clock.shift = timedelta(hours=1)

    standby.look()

    assert standby.since == START + timedelta(hours=1)
    assert [r.event for r in caplog.records] == ["beat.clock_set", "beat.stood_still"]  # type: ignore[attr-defined]


def test_clock_set_back_by_an_hour_is_said_and_is_no_break(
    clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    standby = StandBy(clock)
    clock.shift = timedelta(hours=-1)

    standby.look()

    assert standby.since == START - timedelta(hours=1)
    (line,) = caplog.records
    assert line.event == "beat.clock_set"  # type: ignore[attr-defined]
    assert "not sent again" in line.getMessage()
