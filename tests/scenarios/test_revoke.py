"""Tasks that are revoked while they run, by the command, in whole workers on a real broker.

After each: the task that was revoked with `--terminate` has ended, does not come again and is no dead letter, whether it settles
before or after its run; everything else that its process held has run exactly once; and what was revoked while it waited in a
process's hand has not begun.
"""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.support.ahead import FEW, hand_out_to_frozen, make_surely_short, only_child
from tests.support.kafka import Kafka
from tests.support.processes import Process
from tests.support.scene import START_SECONDS, Scene
from tests.support.waiting import wait_until


def revoke(scene: Scene, *arguments: str) -> Process:
    """Run the command to its end."""
    command = scene.processes.taskq("revoke", "-b", scene.kafka.bootstrap, *arguments)
    assert command.wait() == 0, command.text
    return command


def wait_revoked(worker: Process, id: str) -> str:
    """Wait for the line that says a worker has done it, and return its rest."""
    return worker.wait_for_line(rf"\[{id}\] was revoked(.*)$")[1]


@pytest.mark.parametrize("late", [False, True])
def test_killed_process_loses_and_doubles_nothing_but_the_task_that_was_revoked(
    kafka: Kafka, scene: Scene, late: bool
) -> None:
    kafka.create_topic(scene.queue, partitions=2)
    worker = scene.ready_worker(slots=2)
    scene.make_short()  # so that others are claimed ahead, behind it
    gate = scene.gate()
    revoked = scene.send("wait for gate", gate, late=late)
    others = scene.send_many(200) + scene.send_many(50, late=True)
    process = scene.wait_started(revoked).pid

    revoke(scene, revoked, "--terminate")
    how = wait_revoked(worker, revoked)
    others += scene.send_many(50)
    scene.wait_ended(*others)
    wait_until(lambda: scene.claimed() == len(scene.sent), timeout=30, what="all to be settled")
    assert worker.stop() == 0, worker.text

    assert f"process {process} that ran it was killed by signal 9" in how
    assert [entry.pid for entry in scene.started(revoked)] == [process]
    assert scene.ran_twice() == {}
    assert scene.never_ran() == set()
    assert scene.letters() == {}
    second = scene.ready_worker()
    scene.wait_ended(*scene.send_many(5))
    assert second.stop() == 0, second.text
    assert len(scene.started(revoked)) == 1


def test_what_was_claimed_ahead_and_is_revoked_does_not_begin(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker()
    make_surely_short(scene, worker)
    child = only_child(scene)
    gate = scene.gate()
    long = hand_out_to_frozen(scene, child, "wait for gate", gate)
    waiting = scene.sent[-FEW:]
    os.kill(child, signal.SIGCONT)
    scene.wait_started(long)

    revoke(scene, waiting[3], waiting[-1])
    revoke(scene, long)  # which goes on
    wait_revoked(worker, waiting[3])
    wait_revoked(worker, waiting[-1])
    gate.touch()
    scene.wait_ended(long, *(id for id in waiting if id not in (waiting[3], waiting[-1])))
    assert worker.stop() == 0, worker.text

    assert scene.never_ran() == {waiting[3], waiting[-1]}
    assert scene.ran_twice() == {}


@pytest.mark.parametrize(
    ("pool", "task", "how"),
    [
        ("asyncio", "await", "ended with CancelledError"),
        ("asyncio", "await_late", "ended with CancelledError"),
        ("threads", "loop", "ended with Terminated"),
        ("solo", "loop", "ended with Terminated"),
    ],
)
def test_pools_without_processes_end_it_with_an_exception(
    kafka: Kafka, scene: Scene, pool: str, task: str, how: str
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.worker("-P", pool, "--log-format", "json", app="tests.scenarios.apps.endless")
    worker.wait_for_line('"event": "worker.ready"', timeout=START_SECONDS)
    revoked = scene.send_task(task)
    scene.wait_started(revoked)

    printed = revoke(scene, "--terminate", "--json", revoked)
    worker.wait_for_line(r'"event": ?"task.revoked"')
    scene.wait_ended(*scene.send_many(5))
    assert worker.stop() == 0, worker.text

    assert json.loads(printed.text)[0] == {"id": revoked, "due": [], "terminate": True}
    [line] = [json.loads(line) for line in worker.text.splitlines() if "task.revoked" in line]
    assert (line["id"], line["terminated"]) == (revoked, True)
    assert how in line["message"]
    assert len(scene.started(revoked)) == 1
    assert scene.letters() == {}
