from __future__ import annotations

from datetime import datetime, timedelta, timezone

from taskq.retry import Again, Never, RetryPolicy
from taskq.running.keyhold import HEADER, held_policy, held_since_ms, over_hold, within_hold
from taskq.timing.timers import due_ms

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
AGAIN = Again(due_ms(NOW + timedelta(seconds=10)), 10.0, 1, 3)


def held_for(seconds: float) -> dict[str, str]:
    return {HEADER: str(due_ms(NOW - timedelta(seconds=seconds)))}


def test_a_first_run_begins_the_hold_at_its_end() -> None:
    assert held_since_ms({}, NOW) == due_ms(NOW)
    assert held_since_ms(held_for(7), NOW) == due_ms(NOW) - 7000


def test_nonsense_in_the_header_is_a_first_run() -> None:
    for text in ("", "x", "-1", "٣", "9" * 20, 7):
        assert held_since_ms({HEADER: text}, NOW) == due_ms(NOW)


def test_what_comes_within_the_hold_is_run_again() -> None:
    assert within_hold(AGAIN, held_for(50), key_hold=60, now=NOW) is AGAIN


def test_what_would_come_after_the_hold_is_not_and_says_why() -> None:
    decided = within_hold(AGAIN, held_for(50.002), key_hold=60, now=NOW)

    assert isinstance(decided, Never)
    assert "key_hold, the 60 s" in decided.why


def test_who_may_hold_for_no_time_may_still_run_again_at_once() -> None:
    assert not over_hold({}, wait=timedelta(0), key_hold=0, now=NOW)
    assert over_hold({}, wait=timedelta(milliseconds=1), key_hold=0, now=NOW)


def test_what_is_not_run_again_stays_so() -> None:
    never = Never("no retry is left")

    assert within_hold(never, {}, key_hold=60, now=NOW) is never


def test_a_wait_that_fits_no_hold_is_shared_out_over_it() -> None:
    assert held_policy(RetryPolicy(), 60).wait(0, 0) == 15  # three retries
    assert held_policy(RetryPolicy(max_retries=5), 60).wait(4, 0) == 10
    assert held_policy(RetryPolicy(max_retries=None), 60).wait(9, 0) == 15


def test_a_wait_that_fits_stays() -> None:
    fits = RetryPolicy(delay=60)
    backoff = RetryPolicy(backoff=2, jitter=False)

    assert held_policy(fits, 60) is fits
    assert held_policy(backoff, 60).wait(2, 0) == 8
