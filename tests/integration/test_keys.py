"""Order by key with real workers on the real Kafka: one of a key at a time, in order, whatever runs them."""

from __future__ import annotations

import pytest

from taskq.memory.murmur2 import partition_of
from tests.support.kafka import Kafka
from tests.support.scene import Scene

KEYS = 5
STEPS = 12
CALM = {"TASKQ_SESSION_TIMEOUT": "60"}
"""A worker that a slow machine holds up for longer loses its place in the group, and with it the order of its keys."""


def expected(failing: int) -> list[tuple[int, int]]:
    """Return the runs of a key whose every fourth task fails so often."""
    return [
        (number, retries)
        for number in range(STEPS)
        for retries in range(1 + (failing if number % 4 == 0 else 0))
    ]


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio", "solo"])
@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_tasks_of_a_key_run_one_at_a_time_and_in_order_with_their_retries(
    kafka: Kafka, scene: Scene, pool: str, late: bool
) -> None:
    kafka.create_topic(scene.queue, partitions=2)
    slots = 1 if pool == "solo" else 4
    worker = scene.ready_worker("-P", pool, slots=slots, env=CALM)

    for number in range(STEPS):
        for key in range(KEYS):
            scene.send_step(f"k{key}", number, 2 if number % 4 == 0 else 0, late=late)
    scene.wait_left(KEYS * len(expected(2)))

    assert scene.steps() == {f"k{key}": expected(2) for key in range(KEYS)}
    assert worker.stop() == 0


def test_a_hot_key_does_not_stop_the_others_of_its_partition(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    scene.ready_worker(slots=2, env=CALM)
    gate = scene.gate()
    scene.wait_started(scene.send("wait for gate", gate, key="hot"))
    waiting = [scene.send(key="hot") for _ in range(50)]

    others = [scene.send(key=f"k{number % 7}") for number in range(50)] + scene.send_many(20)
    scene.wait_ended(*others)
    assert not any(scene.started(id) for id in waiting)

    gate.touch()
    scene.wait_ended(*waiting)
    started = [entry.id for entry in scene.ledger.entries("started") if entry.id in set(waiting)]
    assert started == waiting


def test_key_hold_ends_a_task_and_its_key_goes_on(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    scene.ready_worker(env={"TASKQ_KEY_HOLD": "0.5", **CALM})

    stuck = scene.send_step("k", 0, 1_000_000)
    scene.send_step("k", 1)
    letter = scene.wait_letters(stuck)[stuck]

    assert letter.reason == "retries_exhausted"
    assert letter.error is not None
    assert "key_hold, the 0.5 s" in letter.error
    runs = letter.attempts
    assert runs is not None
    scene.wait_left(runs + 1)
    assert scene.steps() == {"k": [*((0, retries) for retries in range(runs)), (1, 0)]}


def test_a_process_that_dies_with_a_task_of_a_key_is_followed_by_the_same_task(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    scene.ready_worker(slots=2, env=CALM)
    deadly = scene.send("kill itself", key="k", late=True)
    others = [scene.send(key="k", late=True) for _ in range(3)]

    scene.wait_ended(*others)

    started = [entry.id for entry in scene.ledger.entries("started")]
    assert started == [deadly, deadly, *others]
    assert scene.wait_letters(deadly)[deadly].reason == "worker_died"


def test_a_hot_key_of_which_no_more_fits_the_hand_stops_its_partition_alone(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=6)
    worker = scene.ready_worker(slots=3, env=CALM)
    hot_place = partition_of(b"hot", 6)
    others = [name for n in range(100) if partition_of((name := f"k{n}").encode(), 6) != hot_place]
    gate = scene.gate()
    scene.wait_started(scene.send("wait for gate", gate, key="hot"))
    waiting = [scene.send(key="hot") for _ in range(1500)]

    worker.wait_for_line(
        rf"partition {hot_place} waits with \d+ tasks whose keys are busy", timeout=60
    )
    passing = [scene.send(key=key) for key in others[:20] for _ in range(5)]
    scene.wait_ended(*passing)
    assert not any(scene.started(id) for id in waiting)

    gate.touch()
    scene.wait_ended(*waiting, timeout=60)
    started = [entry.id for entry in scene.ledger.entries("started") if entry.id in set(waiting)]
    assert started == waiting
    assert not scene.ran_twice()
    assert worker.stop() == 0
