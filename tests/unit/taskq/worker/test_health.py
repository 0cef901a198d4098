from __future__ import annotations

from dataclasses import replace

import pytest

from taskq.worker.health import BOUND, Pulse, Stage, liveness, readiness

GOOD = Pulse("q", is_running=True, moved=1000.0, waits_for="", is_joined=True)
STILL = 1000.0 + BOUND + 1


def test_threads_that_move_are_alive() -> None:
    assert liveness(Stage.RUNNING, [GOOD, GOOD], 1000.0 + BOUND).is_good


def test_a_thread_that_has_ended_is_told_by_its_queue() -> None:
    answer = liveness(Stage.RUNNING, [GOOD, replace(GOOD, queue="r", is_running=False)], 1000.0)

    assert (answer.is_good, answer.text) == (False, "queue r: its thread has ended")


def test_a_thread_that_stands_still_is_told_by_its_queue() -> None:
    answer = liveness(Stage.RUNNING, [GOOD], STILL)

    assert (answer.is_good, answer.text) == (False, "queue q: its thread has not moved for 121 s")


def test_a_thread_that_waits_for_the_broker_is_alive_however_long() -> None:
    answer = liveness(Stage.RUNNING, [replace(GOOD, waits_for="a claim of 3 records")], STILL)

    assert answer.is_good
    assert answer.text == "queue q waits for the broker: a claim of 3 records"


@pytest.mark.parametrize("stage", [Stage.STARTING, Stage.STOPPING])
def test_before_and_after_its_run_no_thread_is_needed(stage: Stage) -> None:
    assert liveness(stage, [replace(GOOD, is_running=False)], STILL).is_good


def test_a_worker_with_its_place_in_all_groups_is_ready() -> None:
    assert readiness(Stage.RUNNING, [GOOD, GOOD]).is_good


def test_a_worker_without_its_place_in_one_is_not_ready() -> None:
    answer = readiness(Stage.RUNNING, [GOOD, replace(GOOD, queue="r", is_joined=False)])

    assert (answer.is_good, answer.text) == (False, "not joined yet: queue r")


@pytest.mark.parametrize("stage", [Stage.STARTING, Stage.STOPPING])
def test_a_worker_that_starts_or_stops_is_not_ready(stage: Stage) -> None:
    answer = readiness(stage, [GOOD])

    assert (answer.is_good, answer.text) == (False, stage.value)
