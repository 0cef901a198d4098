"""Tasks with `acks_late` beside others in one queue, and what befalls their workers.

Workers and children are killed, stopped, and taken their partitions from while such tasks are at work. After each: every one of
them has run to its end, or is in the dead letters; those that settle before they run have run once at most; a task that kills
what runs it ends in the dead letters after as many deaths as its task allows, and all others run.
"""

from __future__ import annotations

import os
import signal

from tests.support.kafka import Kafka
from tests.support.scene import Scene
from tests.support.waiting import wait_until

DEATHS = 2
"""`max_deliveries` of the scene's task."""


def unsettled(scene: Scene, sent: int) -> int:
    """Return how many of so many records the group has not settled below its offsets."""
    return sent - scene.claimed()


def wait_settled(scene: Scene) -> None:
    """Wait until the group's offsets are behind everything that was sent."""
    wait_until(lambda: unsettled(scene, len(scene.sent)) == 0, timeout=60, what="all to be settled")


def wait_started_again(scene: Scene, id: str) -> None:
    """Wait for the second start of a task."""
    wait_until(lambda: len(scene.started(id)) == 2, timeout=60, what=f"a second start of {id}")


def test_more_late_tasks_than_partitions_are_at_work_and_a_stuck_one_stalls_nobody(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=2)
    scene.ready_worker(slots=6)
    gate = scene.gate()
    stuck = [scene.send("wait for gate", gate, late=True) for _ in range(4)]
    for id in stuck:
        scene.wait_started(id)

    others = scene.send_many(100, late=True) + scene.send_many(100)
    scene.wait_ended(*others)
    before = scene.claimed()
    gate.touch()
    scene.wait_ended(*stuck)
    wait_settled(scene)

    assert before < len(scene.sent)
    assert scene.ran_twice() == {}


def test_killed_worker_leaves_all_unfinished_late_tasks_to_run_again_and_no_early_one(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=2)
    first = scene.ready_worker(slots=4)
    gate = scene.gate()
    late = [scene.send("wait for gate", gate, late=True) for _ in range(3)]
    early = scene.send("wait for gate", gate)
    for id in (*late, early):
        scene.wait_started(id)
    finished = scene.send_many(20, late=True)  # they wait: all slots are busy

    first.kill_all()
    scene.ready_worker(slots=4)
    for id in late:
        wait_started_again(scene, id)
    gate.touch()
    scene.wait_ended(*late, *finished)
    wait_settled(scene)

    assert [scene.deliveries(id) for id in late] == [["1 False", "2 True"]] * 3
    assert len(scene.started(early)) == 1
    assert scene.ran_twice().keys() == set(late)


def test_killed_child_costs_a_late_task_one_death_and_its_neighbours_nothing(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker(slots=2)
    gate = scene.gate()
    late = scene.send("wait for gate", gate, late=True)
    entry = scene.wait_started(late)
    beside = scene.send("wait for gate", gate, late=True)
    scene.wait_started(beside)

    os.kill(entry.pid, signal.SIGKILL)
    wait_started_again(scene, late)
    gate.touch()
    scene.wait_ended(late, beside)
    wait_settled(scene)

    assert scene.deliveries(late) == ["1 False", "2 True"]
    assert scene.deliveries(beside) == ["1 False"]
    assert "task.lost" not in worker.text


def test_poison_ends_in_the_dead_letters_and_three_hundred_good_tasks_run(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=2)
    scene.ready_worker(slots=3)
    good: list[str] = []
    poison = {}
    for what, detail in (("crash", ""), ("kill itself", ""), ("exit at once", 3)):
        good += scene.send_many(60, late=True)
        poison[scene.send(what, detail, late=True)] = "worker_died"
    for what, detail in (("exit", 3), ("recurse", "")):
        good += scene.send_many(60, late=True)
        poison[scene.send(what, detail, late=True)] = "failed"

    scene.wait_ended(*good, timeout=90)
    letters = scene.wait_letters(*poison, timeout=90)
    wait_settled(scene)

    assert {id: letters[id].reason for id in poison} == poison
    died = [id for id, reason in poison.items() if reason == "worker_died"]
    assert [letters[id].attempts for id in died] == [DEATHS] * len(died)
    assert [len(scene.started(id)) for id in died] == [DEATHS] * len(died)
    for letter in (letters[id] for id in died):
        assert all("that ran it" in each.error for each in letter.earlier)
        assert [each.worker for each in letter.earlier] == [letter.details["worker"]] * (DEATHS - 1)
    assert letters.keys() == poison.keys()


def test_poison_that_kills_the_whole_worker_is_counted_across_workers(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    gate = scene.gate()
    innocent = scene.send("wait for gate", gate, late=True)
    poison = scene.send("kill itself", late=True)

    workers = [scene.worker("-P", "threads", slots=4) for _ in range(DEATHS + 2)]
    letters = scene.wait_letters(poison, timeout=120)
    gate.touch()
    scene.wait_ended(innocent)
    wait_settled(scene)

    assert letters.keys() == {poison}
    assert letters[poison].reason == "worker_died"
    assert {each.at for each in letters[poison].earlier} == {"?"}
    assert len(letters[poison].earlier) == letters[poison].attempts
    assert letters[poison].attempts == DEATHS + 1
    assert sum(worker.is_running for worker in workers) == 1


def test_stop_gives_unfinished_late_tasks_back_and_names_none_as_lost(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    first = scene.ready_worker("--grace", "1", slots=2)
    gate = scene.gate()
    late = scene.send("wait for gate", gate, late=True)
    early = scene.send("wait for gate", gate)
    scene.wait_started(late)
    scene.wait_started(early)

    first.signal(signal.SIGTERM)
    assert first.wait() == 1
    second = scene.ready_worker(slots=2)
    wait_started_again(scene, late)
    gate.touch()
    scene.wait_ended(late)
    wait_settled(scene)

    lost = [line for line in first.text.splitlines() if "lost:" in line]
    assert len(lost) == 1
    assert early in lost[0]
    assert scene.deliveries(late) == ["1 False", "2 True"]
    assert "runs again, alone" not in second.text


def test_stop_waits_for_late_tasks_and_settles_them(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    first = scene.ready_worker(slots=2)
    gate = scene.gate()
    late = scene.send("wait for gate", gate, late=True)
    scene.wait_started(late)

    first.signal(signal.SIGTERM)
    first.wait_for_line("stopping")
    gate.touch()

    assert first.wait() == 0
    wait_settled(scene)
    assert len(scene.started(late)) == 1


def test_another_worker_that_joins_doubles_no_task_that_ends_soon(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=4)
    scene.ready_worker(slots=4)
    late = [scene.send("wait seconds", 0.3, late=True) for _ in range(60)]

    scene.ready_worker(slots=4)
    scene.wait_ended(*late)
    wait_settled(scene)

    assert scene.ran_twice() == {}
