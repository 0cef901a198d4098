"""What goes wrong in a worker's processes and in its group, one hazard a test.

Parents and children are killed while they hold tasks, tasks last longer than Kafka likes, workers are too many or too busy, the
broker has forgotten how far the group was. After each: no task ran twice, none is lost but those that a killed process had claimed,
and what lives goes on.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from taskq.memory.murmur2 import partition_of
from tests.support.ahead import (
    FEW,
    freeze_idle,
    hand_out_to_frozen,
    make_surely_short,
    only_child,
)
from tests.support.kafka import Kafka, admin
from tests.support.probing import Probe
from tests.support.processes import Process, process_table
from tests.support.scene import Scene
from tests.support.waiting import wait_until


def test_orphaned_child_finishes_its_task_and_drops_the_others(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker(slots=1)
    make_surely_short(scene, worker)
    child = only_child(scene)
    gate = scene.gate()
    last = hand_out_to_frozen(scene, child, "kill, then wait for gate", f"{worker.pid} {gate}")

    os.kill(child, signal.SIGCONT)
    assert worker.wait() == -signal.SIGKILL
    assert child in worker.descendants()
    gate.touch()
    scene.wait_ended(last)
    worker.wait_gone()

    lost = scene.never_ran()
    assert len(lost) == FEW  # claimed, handed out, and dropped by the child
    heir = scene.ready_worker(slots=1)
    scene.wait_ended(*scene.send_many(20))
    assert heir.stop() == 0
    assert scene.never_ran() == lost
    assert scene.ran_twice() == {}


def test_idle_children_end_with_their_parent(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker(slots=3)

    worker.kill()

    worker.wait_gone()


def test_dead_childs_tasks_in_hand_are_run_once_by_another(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker(slots=1)
    make_surely_short(scene, worker)
    child = only_child(scene)
    last = hand_out_to_frozen(scene, child, "kill itself", "")

    os.kill(child, signal.SIGCONT)

    letters = scene.wait_letters(last)
    assert letters.keys() == {last}
    assert letters[last].reason == "worker_died"
    assert "SIGKILL" in str(letters[last].error)
    wait_until(lambda: not scene.never_ran(), timeout=60, what="those that the dead child held")
    scene.wait_ended(scene.send())
    assert scene.ran_twice() == {}
    assert worker.stop() == 0
    assert "Traceback" not in worker.text


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_child_killed_from_outside_costs_the_task_it_runs(
    kafka: Kafka, scene: Scene, number: signal.Signals
) -> None:
    kafka.create_topic(scene.queue, partitions=4)
    worker = scene.ready_worker(slots=2)
    running = scene.hold(scene.gate())

    os.kill(running.pid, number)

    letters = scene.wait_letters(running.id)
    assert letters[running.id].reason == "worker_died"
    assert number.name in str(letters[running.id].error)
    worker.wait_for_line(rf"{running.pid} was killed by signal .*{number.name}.*replaced")
    # As many tasks as slots wait for each other: the dead child's place is taken again.
    holds = [scene.hold(scene.gate("other")) for _ in range(2)]
    scene.gate("other").touch()
    scene.wait_ended(*(hold.id for hold in holds))
    assert worker.stop() == 0
    assert scene.ran_twice() == {}


def test_killed_nursery_costs_the_running_task_and_no_other(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker(slots=1)
    running = scene.hold(scene.gate())
    nursery = parent_of(running.pid)
    assert nursery != worker.pid

    os.kill(nursery, signal.SIGKILL)

    # Nobody could wait for the child any more, so nobody would know that it died: it is ended.
    assert scene.wait_letters(running.id)[running.id].reason == "worker_died"
    scene.wait_ended(*scene.send_many(10))
    assert worker.stop() == 0
    assert scene.never_ran() == set()
    assert scene.ran_twice() == {}
    worker.wait_gone()


def test_worker_without_a_partition_says_so_and_takes_over(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=2)
    workers = [scene.ready_worker("-n", f"w{number}") for number in range(2)]
    workers.append(scene.worker("-n", "w3"))

    spare = find(lambda: [each for each in workers if "no partition of queue" in each.text])
    assert "2 partitions, 3 workers" in spare.text
    assert spare.text.count("no partition of queue") == 1
    scene.wait_ended(*scene.send_many(20))
    before = len(spare.text)
    assert next(each for each in workers if each is not spare).stop() == 0
    spare.wait_for_line("partitions [01]", after=before, timeout=60)

    family = set(spare.family())
    wait_until(lambda: run_one(scene) in family, timeout=30, what="a task that the spare one runs")
    assert scene.never_ran() == set()
    assert scene.ran_twice() == {}


def run_one(scene: Scene) -> int:
    """Run a task and return the process that it ran in."""
    (entry,) = scene.wait_ended(scene.send())
    return entry.pid


def find(look: Callable[[], list[Process]]) -> Process:
    """Wait for the first of some processes that is found."""
    return wait_until(look, timeout=60, what="a worker that says so")[0]


def test_task_longer_than_the_longest_poll_interval_runs_once(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=2)
    interval = {"TASKQ_KAFKA_MAX_POLL_INTERVAL_MS": "6000"}
    workers = [scene.ready_worker("-P", pool, env=interval) for pool in ("prefork", "solo")]

    long = [scene.send("wait seconds", 8) for _ in range(2)]

    scene.wait_ended(*long, timeout=60)
    scene.wait_ended(*scene.send_many(10))
    assert [worker.stop() for worker in workers] == [0, 0]
    assert scene.ran_twice() == {}
    for worker in workers:
        assert not re.search("ERROR|WARNING|max.poll", worker.text)


def test_full_worker_leaves_its_partitions_to_an_idle_one(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=4)
    full = scene.ready_worker("-n", "full")
    long = scene.hold(scene.gate())
    idle = scene.ready_worker("-n", "idle")
    full.wait_for_line("revoked", timeout=60)

    # Keys, so that some of them go to the full worker's partitions.
    waiting = [scene.send(key=str(number)) for number in range(16)]
    short = scene.wait_ended(*waiting)

    assert {entry.pid for entry in short} <= set(idle.family())
    full.wait_for_line(f"queue {scene.queue} is left to the other workers")
    assert not scene.gate().exists()
    scene.gate().touch()
    full.wait_for_line(f"back to queue {scene.queue}")
    scene.wait_ended(long.id)
    before = len(full.text)
    assert idle.stop() == 0
    full.wait_for_line("partitions 0, 1, 2, 3", after=before, timeout=60)
    after = scene.wait_ended(*scene.send_many(8))
    assert {entry.pid for entry in after} <= set(full.family())
    assert full.stop() == 0
    assert scene.ran_twice() == {}


def test_short_tasks_behind_a_slow_one_run_elsewhere_meanwhile(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker(slots=2)
    scene.make_short()
    wait_until(lambda: make_both_run(scene), timeout=30, what="tasks in both children")
    make_surely_short(scene, worker)
    children = scene.pids()
    claimed = scene.claimed()
    for child in children:
        freeze_idle(child)
    slow = scene.send("wait for gate", scene.gate())
    short = scene.send_many(2 * FEW)
    scene.wait_claimed(claimed + 1 + 2 * FEW)

    for child in children:
        os.kill(child, signal.SIGCONT)
    busy = scene.wait_started(slow).pid
    ended = scene.wait_ended(*short)

    assert not scene.gate().exists()
    assert busy not in {entry.pid for entry in ended}
    scene.gate().touch()
    scene.wait_ended(slow)
    assert worker.stop() == 0
    assert scene.ran_twice() == {}


def make_both_run(scene: Scene) -> bool:
    """Let tasks wait for one another, so that each of two children has one."""
    holds = [scene.hold(scene.gate("both")) for _ in range(2)]
    scene.gate("both").touch()
    scene.wait_ended(*(hold.id for hold in holds))
    scene.make_short(500)
    return len(scene.pids()) == 2


def test_records_older_than_the_brokers_memory_of_offsets_are_not_run(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=1, config={"retention.ms": "-1"})
    week = 7 * 86400
    old = [scene.send_at(-week - 600 + second) for second in range(5)]
    new = [scene.send_at(-week + 600), *scene.send_many(4)]

    worker = scene.ready_worker()

    scene.wait_ended(*new)
    letters = scene.wait_letters(*old)
    assert letters.keys() == set(old)
    assert {letter.reason for letter in letters.values()} == {"offset_expired"}
    assert scene.never_ran() == set(old)
    assert worker.stop() == 0
    assert "may have" in worker.text or "whether they ran is unknown" in worker.text
    # The place is known now: nothing is put aside again, nothing run again.
    again = scene.ready_worker()
    scene.wait_ended(scene.send())
    assert again.stop() == 0
    assert scene.letters().keys() == set(old)
    assert scene.ran_twice() == {}


def parent_of(pid: int) -> int:
    """Return a process's parent."""
    return next(entry.parent for entry in process_table() if entry.pid == pid)


def test_dead_letter_that_is_too_large_for_its_topic_stops_its_partition_alone(
    kafka: Kafka, scene: Scene
) -> None:
    letters = f"{scene.queue}.dlq"
    kafka.create_topic(scene.queue, partitions=2)
    kafka.create_topic(letters, partitions=1, config={"max.message.bytes": "60"})
    keys = [f"{number}" for number in range(40)]
    stopped = partition_of(keys[0].encode(), 2)
    probe = Probe()
    worker = scene.ready_worker("--health", probe.place, slots=2)

    refused = scene.send_task("nobody", key=keys[0])
    worker.wait_for_line(rf"partition {stopped} stands still: .*unknown_task")
    sent = {key: scene.send(key=key) for key in keys}
    behind = [id for key, id in sent.items() if partition_of(key.encode(), 2) == stopped]
    scene.wait_ended(*(set(sent.values()) - set(behind)))
    started = {entry.id for entry in scene.ledger.entries("started")}
    metrics = probe.get("/metrics").text
    change = ConfigEntry(
        "max.message.bytes", "1000000", incremental_operation=AlterConfigOpType.SET
    )
    topic = ConfigResource(ConfigResource.Type.TOPIC, letters, incremental_configs=[change])
    client = admin(kafka.bootstrap)
    client.incremental_alter_configs([topic])[topic].result(10)

    place = f'queue="{scene.queue}",partition="{stopped}"'
    assert f'taskq_partition_blocked{{{place},reason="dead_letter"}} 1\n' in metrics
    assert behind
    assert not started.intersection(behind)
    scene.wait_ended(*behind)
    assert scene.wait_letters(refused)[refused].reason == "unknown_task"
    worker.wait_for_line(f"partition {stopped} goes on")
    assert scene.ran_twice() == {}
    assert worker.stop() == 0, worker.text
    probe.close()
