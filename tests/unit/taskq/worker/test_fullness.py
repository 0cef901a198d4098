from __future__ import annotations

from taskq.worker.fullness import ASK_EVERY, LEAVE_AFTER, PAUSE_AFTER, Fullness


def test_fetching_is_paused_when_a_record_has_waited_long_enough() -> None:
    fullness = Fullness()

    fullness.found_no_slot(10.0)
    fullness.found_no_slot(10.4)

    assert not fullness.should_pause(10.0 + PAUSE_AFTER - 0.01)
    assert fullness.should_pause(10.0 + PAUSE_AFTER)


def test_a_slot_begins_the_wait_anew() -> None:
    fullness = Fullness()
    fullness.found_no_slot(10.0)

    fullness.found_slot()
    fullness.found_no_slot(20.0)

    assert not fullness.should_pause(20.0)


def test_other_members_matter_when_all_slots_were_busy_for_long_and_records_wait() -> None:
    def asks(full_for: float, *, is_waiting: bool) -> bool:
        return Fullness().should_ask(100.0, full_for=full_for, is_waiting=is_waiting)

    assert asks(LEAVE_AFTER, is_waiting=True)
    assert not asks(LEAVE_AFTER - 0.1, is_waiting=True)
    assert not asks(LEAVE_AFTER, is_waiting=False)


def test_the_broker_is_not_asked_all_the_time() -> None:
    fullness = Fullness()

    asked = [
        fullness.should_ask(now, full_for=100.0, is_waiting=True)
        for now in (0.0, 1.0, ASK_EVERY - 0.1, ASK_EVERY, ASK_EVERY + 1)
    ]

    assert asked == [True, False, False, True, False]
