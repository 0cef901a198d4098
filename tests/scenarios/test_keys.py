"""Order by key while workers come and go.

Tasks with keys are sent all the time, some of them fail and are tried again in place. Meanwhile a second worker joins, so that
partitions move, and the first one is stopped, so that they move back: a rolling restart. After it every task has run to its end,
those that settle before they run once for each attempt, and of each key the tasks ran one at a time and in the order in which
they were sent.
"""

from __future__ import annotations

import pytest

from tests.support.kafka import Kafka
from tests.support.scene import READY, START_SECONDS, Scene

KEYS = 12
ROUNDS = 15
STEP_SECONDS = 0.01
RETRY_SECONDS = 0.4
"""Long enough that whenever partitions go some tasks wait for their retries, and far below the 2 s that a worker waits for them."""


def send_round(scene: Scene, number: int, *, late: bool) -> None:
    """Send one task of each key; every fifth fails once."""
    for key in range(KEYS):
        failures = int((number + key) % 5 == 0)
        scene.send_step(f"k{key}", number, failures, STEP_SECONDS, RETRY_SECONDS, late=late)


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_a_join_and_a_clean_stop_keep_the_order_of_each_key(
    kafka: Kafka, scene: Scene, late: bool
) -> None:
    kafka.create_topic(scene.queue, partitions=6)
    first = scene.ready_worker("-n", "first", slots=2)
    for number in range(ROUNDS):
        send_round(scene, number, late=late)
    scene.wait_left(20)

    second = scene.worker("-n", "second", slots=2)
    second.wait_for_line(READY, timeout=START_SECONDS)
    for number in range(ROUNDS, 2 * ROUNDS):
        send_round(scene, number, late=late)
    second.wait_for_line(r"partitions \d", timeout=START_SECONDS)
    assert first.stop() == 0
    for number in range(2 * ROUNDS, 3 * ROUNDS):
        send_round(scene, number, late=late)

    runs = sum(
        1 + int((number + key) % 5 == 0) for key in range(KEYS) for number in range(3 * ROUNDS)
    )
    scene.wait_left(runs)
    assert scene.steps() == {
        f"k{key}": [
            (number, retries)
            for number in range(3 * ROUNDS)
            for retries in range(1 + int((number + key) % 5 == 0))
        ]
        for key in range(KEYS)
    }
    assert len(scene.pids_of("left")) > 2, "both workers had a part in it"
    assert second.stop() == 0
