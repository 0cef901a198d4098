"""Tasks that meet the limits they were given, in whole workers.

In pools without processes a soft limit still ends a function that hangs. A task above its rate waits in the worker's hand without a
slot: others of its partition pass it, none is lost when that worker stops, and the next one goes on with it.
"""

from __future__ import annotations

import pytest

from tests.support.kafka import Kafka
from tests.support.scene import Scene

APP = "tests.scenarios.apps.limited"


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_soft_limit_ends_what_hangs_where_nothing_can_be_killed(
    kafka: Kafka, scene: Scene, pool: str
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker("-P", pool, app=APP)

    hanging = scene.send_task("loop_softly")
    good = scene.send_many(5)

    scene.wait_ended(*good)
    assert scene.wait_letters(hanging)[hanging].reason == "time_limit"
    assert f"the pool {pool} cannot end a plain function: time_limit is not kept for loop_hard" in (
        worker.text
    )
    assert worker.stop() == 0, worker.text
    assert scene.never_ran() == set()


def test_a_run_that_was_killed_at_its_limit_is_retried_if_its_task_wants_it(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker(app=APP, slots=2)

    ids = [scene.send_task("loop_once"), scene.send_task("loop_once_late")]

    scene.wait_ended(*ids)
    assert [len(scene.started(id)) for id in ids] == [2, 2]
    assert worker.stop() == 0, worker.text
    assert "delivered again" not in worker.text
    assert scene.never_ran() == set()


def test_tasks_above_their_rate_are_passed_and_not_lost(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    first = scene.ready_worker(app=APP, slots=2)
    seldom = [scene.send_task("seldom") for _ in range(3)]

    scene.wait_ended(seldom[0], *scene.send_many(20))
    assert first.stop() == 0, first.text
    assert [id for id in seldom if scene.started(id)] == seldom[:1]

    second = scene.ready_worker(app=APP, slots=2)
    scene.wait_ended(seldom[1], *scene.send_many(20))
    assert second.stop() == 0, second.text

    assert [len(scene.started(id)) for id in seldom] == [1, 1, 0]
    assert scene.ran_twice() == {}
    assert scene.never_ran() == set()
