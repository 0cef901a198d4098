"""When a silent consumer is broken, and when it is rightly silent."""

from __future__ import annotations

import itertools
import re

import pytest

from taskq_kafka.backoff import Backoff
from taskq_kafka.watchdog import (
    BUSY_PATIENCE,
    CALM,
    LOST_PATIENCE,
    Look,
    Replacements,
    Sighting,
    Watchdog,
)

HEALTHY = Sighting(
    listed=True,
    given=frozenset({0, 1}),
    known=frozenset({0, 1}),
    positions={0: 5, 1: 7},
    ends={0: 5, 1: 7},
)
UNLISTED = Sighting(listed=False, known=frozenset({0}))
STALLED = Sighting(
    listed=True,
    given=frozenset({0}),
    known=frozenset({0}),
    positions={0: 5},
    ends={0: 9},
)


def watchdog() -> Watchdog:
    return Watchdog(patience=30, confirm=10)


def verdict(*sightings: Sighting) -> str:
    """Return what the last of several looks ends with."""
    watch = watchdog()
    return [watch.judge(sighting) for sighting in sightings][-1]


def silent_for(watch: Watchdog, seconds: float, *, step: float = 0.5, start: float = 0.0) -> None:
    for number in range(int(seconds / step) + 1):
        watch.silent(start + number * step)


@pytest.mark.parametrize(
    ("sighting", "why"),
    [
        (UNLISTED, "does not list this member"),
        (STALLED, r"none arrives \(0\)"),
        (Sighting(awaits=True), "no assignment"),
        (Sighting(listed=True, given=frozenset({3, 2})), r"heard nothing \(2, 3\)"),
        (
            Sighting(listed=True, wanted=frozenset({0}), known=frozenset({0, 1})),
            r"wants back .* \(1\)",
        ),
    ],
)
def test_what_is_wrong_twice_has_the_consumer_replaced_and_once_has_not(
    sighting: Sighting, why: str
) -> None:
    assert verdict(sighting) == ""
    assert verdict(sighting, HEALTHY, sighting) == ""
    assert re.search(why, verdict(sighting, sighting))


@pytest.mark.parametrize(
    "sighting",
    [
        HEALTHY,
        Sighting(listed=True),  # rightly without partition
        Sighting(listed=True, wanted=frozenset({0, 1}), known=frozenset({0})),  # of another yet
        Sighting(),  # nobody can tell, and no assignment has to come
        Sighting(listed=True, awaits=True),  # in a rebalance that waits for another member
        Sighting(listed=True, given=frozenset({0}), known=frozenset({0}), ends={0: 9}),  # paused
        Sighting(listed=True, positions={0: 5}),  # its partition's leader does not answer
    ],
)
def test_a_healthy_consumer_is_left_alone(sighting: Sighting) -> None:
    assert verdict(*[sighting] * 5) == ""


def test_a_partition_that_moves_between_two_looks_is_not_stalled() -> None:
    later = Sighting(listed=True, positions={0: 6}, ends={0: 20})

    assert verdict(STALLED, later) == ""


def test_a_pause_between_two_looks_clears_the_suspicion() -> None:
    watch = watchdog()
    watch.judge(STALLED)

    watch.forget()

    assert watch.judge(STALLED) == ""


def test_others_are_asked_after_the_patience_and_about_a_suspicion_sooner() -> None:
    watch = watchdog()
    silent_for(watch, 29)
    assert watch.due() is Look.NOTHING
    silent_for(watch, 1.5, start=29)
    assert watch.due() is Look.ALL

    watch.judge(STALLED)

    silent_for(watch, 9, start=31)
    assert watch.due() is Look.NOTHING
    silent_for(watch, 2, start=40)
    assert watch.due() is Look.ALL


def test_time_in_which_nobody_polled_is_no_silence() -> None:
    watch = watchdog()

    for number in range(20):  # a claim that took a minute each
        watch.silent(number * 60.0)

    assert watch.due() is Look.NOTHING


def test_a_consumer_that_hears_something_between_its_polls_is_not_silent() -> None:
    watch = watchdog()

    for number in range(1000):
        watch.silent(float(number))
        watch.heard(float(number))

    assert watch.due() is Look.MEMBER


def busy_for(watch: Watchdog, seconds: float, *, start: float) -> None:
    for number in range(int(seconds / 0.5) + 1):
        watch.heard(start + number * 0.5)


def test_the_group_is_asked_about_a_busy_consumer_now_and_then() -> None:
    watch = watchdog()
    busy_for(watch, BUSY_PATIENCE - 1, start=0)
    assert watch.due() is Look.NOTHING

    busy_for(watch, 2, start=BUSY_PATIENCE)

    assert watch.due() is Look.MEMBER
    watch.judge(HEALTHY)
    assert watch.due() is Look.NOTHING


def test_the_group_is_asked_soon_after_a_lost_answer_and_again_about_a_suspicion() -> None:
    watch = watchdog()
    busy_for(watch, 20, start=0)

    watch.lost_answer()
    assert watch.due() is Look.NOTHING
    busy_for(watch, LOST_PATIENCE, start=20)
    watch.lost_answer()
    assert watch.due() is Look.MEMBER

    watch.judge(UNLISTED)
    watch.lost_answer()
    busy_for(watch, 9, start=23)
    assert watch.due() is Look.NOTHING
    busy_for(watch, 1, start=32)
    assert watch.due() is Look.MEMBER


def test_a_lost_answer_is_not_forgotten_while_nobody_answers_and_is_when_the_group_has_spoken() -> (
    None
):
    watch = watchdog()
    watch.lost_answer()
    busy_for(watch, LOST_PATIENCE, start=0)

    watch.put_off()
    assert watch.due() is Look.NOTHING
    busy_for(watch, LOST_PATIENCE, start=10)
    assert watch.due() is Look.MEMBER

    watch.restart()
    busy_for(watch, LOST_PATIENCE, start=20)
    assert watch.due() is Look.NOTHING


@pytest.mark.parametrize("every", [2, 5, 9, 20])
def test_a_stalled_partition_is_found_out_beside_one_that_brings_something(every: int) -> None:
    watch = watchdog()
    of_the_member = Sighting(listed=True, given=frozenset({0}), known=frozenset({0}))
    why = ""
    now = 0.0

    while not why and now < 120:
        now += 0.5
        (watch.heard if now % every == 0 else watch.silent)(now)
        if (look := watch.due()) is Look.ALL:
            why = watch.judge(STALLED, look)
        elif look is Look.MEMBER:
            assert not watch.judge(of_the_member, look)

    assert "none arrives (0)" in why


def test_where_answers_get_lost_the_group_is_asked_more_and_more_seldom() -> None:
    watch = watchdog()
    asked = []
    for number in range(400):
        watch.lost_answer()
        watch.heard(number * 0.5)
        if watch.due() is Look.MEMBER:
            watch.judge(HEALTHY, Look.MEMBER)
            asked.append(number * 0.5)

    waits = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert waits == sorted(waits)
    assert waits[0] < 10 < waits[-1]


def test_a_change_of_the_assignment_begins_the_silence_anew() -> None:
    watch = watchdog()
    silent_for(watch, 40)

    watch.restart()

    assert watch.due() is Look.NOTHING


def test_the_first_replacement_is_made_at_once_and_each_next_one_later() -> None:
    replacements = Replacements(Backoff(1, 120, jitter=lambda: 0))

    waits = [replacements.wait(now) for now in (0, 10, 20, 30, 40, 50, 60, 70, 80, 90)]

    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 120, 120]


def test_a_replacement_that_helped_is_followed_by_one_at_once() -> None:
    replacements = Replacements()
    replacements.wait(0)
    replacements.wait(1)

    assert replacements.wait(CALM + 10) == 0
