"""Priorities on a real broker: who runs first, and every command that deals with a queue that has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskq import App, Task
from tests.support.commands import Taskq
from tests.support.kafka import Kafka
from tests.support.scene import Scene
from tests.support.station import Station, headers_of, station
from tests.support.waiting import wait_until

BACKLOG = 3000


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends tasks of `scene_tasks` to a scene's queue, which run in its workers alone."""

    app: App
    act: Task[[str, str], None, None]


@pytest.fixture
def sender(scene: Scene) -> Iterator[Sender]:
    app = App("sender", broker=scene.kafka.bootstrap, default_queue=scene.queue)

    @app.task("act")
    def act(what: str, detail: str) -> None:
        raise AssertionError

    yield Sender(app, act)
    app.close()


@pytest.fixture
def place(kafka: Kafka, tmp_path: Path) -> Iterator[Station]:
    with station(kafka.bootstrap, tmp_path, "prio") as place:
        yield place


@pytest.fixture
def taskq(place: Station) -> Taskq:
    return Taskq(place)


def test_a_high_task_passes_a_backlog_on_a_worker_that_did_not_know_the_priority(
    scene: Scene, sender: Sender
) -> None:
    worker = scene.ready_worker(slots=1)
    scene.wait_ended(sender.app.send_task("act", ("nothing", ""), priority=9).id)
    assert f"takes from {scene.queue}.p9, too" in worker.text
    sender.act.delay_many([("wait seconds", "0.01")] * BACKLOG)
    # Any of them: a client takes one partition after the other, so the first that was sent may come last.
    wait_until(lambda: len(scene.ledger.entries("started")) > 1, timeout=60, what="a low task")
    before = len(scene.ledger.entries("started"))
    high = sender.app.send_task("act", ("nothing", ""), priority=9)
    scene.wait_ended(high.id)
    order = [entry.id for entry in scene.ledger.entries("started")]

    # What ran while it was on its way to the worker does not count; half a minute of low tasks was before it.
    assert order.index(high.id) < before + BACKLOG // 3
    assert len(set(order)) == len(order)


def test_a_high_backlog_is_done_before_a_low_one_and_the_low_one_is_not_starved(
    scene: Scene, sender: Sender
) -> None:
    calls = [("wait seconds", "0.02")] * 200
    gate = scene.gate()
    # Each step has its partitions when it has begun one: whichever came first would be done before the other begins.
    holds = [
        sender.app.send_task("act", ("wait for gate", str(gate)), priority=priority).id
        for priority in (0, 6)
    ]
    worker = scene.ready_worker(slots=2)
    for id in holds:
        scene.wait_started(id)
    low = {result.id for result in sender.act.delay_many(calls)}
    high = {result.id for result in sender.act.options(priority=6).delay_many(calls)}
    gate.touch()
    scene.wait_ended(*low, *high, timeout=120)

    assert "(12 partitions; priorities from 6)" in worker.text
    order = [entry.id for entry in scene.ledger.entries("started") if entry.id not in holds]
    # What runs before both have been fetched does not count.
    begun = max(min(map(order.index, low)), min(map(order.index, high)))
    both = order[begun : max(map(order.index, high))]
    assert 0.05 < sum(id in low for id in both) / len(both) < 0.2
    assert sorted(order) == sorted(low | high)


def test_commands_see_a_queue_with_its_steps_as_one(place: Station, taskq: Taskq) -> None:
    queue = place.queue
    ids = [
        taskq("send", "wire.note", *options).out.strip()
        for options in ([], ["--priority", "4"], ["--priority", "9"], ["--priority", "9"])
    ]

    rows = {row["queue"]: row for row in taskq("queues", "--json").json}
    steps = {row["queue"]: row for row in taskq("queues", "--steps", "--json").json}
    assert set(rows[queue]) == {"queue", "partitions", "lag", "oldest_age", "workers", "held_up"}
    assert (rows[queue]["lag"], rows[queue]["partitions"], rows[queue]["workers"]) == (4, 12, 0)
    assert rows[queue]["oldest_age"] > 0
    assert not {f"{queue}.p3", f"{queue}.p9"} & rows.keys()
    assert [steps[name]["lag"] for name in (queue, f"{queue}.p3", f"{queue}.p9")] == [1, 1, 2]
    assert f"{queue}.p6" not in steps

    (record,) = place.read(f"{queue}.p3")
    assert dict(headers_of(record))["kombu-priority"] == b"4"
    found = taskq("find", ids[2], "--json").json
    assert (found["state"], found["queue"], found["topic"]) == ("waiting", queue, f"{queue}.p9")
    again = taskq("find", f"{found['topic']}/{found['partition']}/{found['offset']}", "--json").json
    assert again["task"] == "wire.note"

    topics = taskq("topics", "list", "--json").json
    kinds = {row["topic"]: (row["queue"], row["kind"], row["state"]) for row in topics}
    assert kinds[f"{queue}.p9"] == (queue, "tasks", "ok")
    assert kinds[f"{queue}.dlq"] == (queue, "dead letters", "missing")
    planned = taskq("topics", "plan", queue, "--priorities", "--json").json
    missing = {row["topic"] for row in planned if row["queue"] == queue}
    assert missing == {f"{queue}.p6", f"{queue}.dlq"}
    made = taskq("topics", "apply", queue, "--priorities", "--json").json
    assert {row["topic"] for row in made if row["state"] == "made"} >= missing
    problems = taskq("doctor", "--json").json
    subjects = {row["subject"]: row for row in problems}
    assert "no worker" in subjects[f"queue {queue}.p9"]["finding"]
    assert f"-Q {queue}'" in subjects[f"queue {queue}.p9"]["advice"]

    assert taskq("purge", queue, "--yes", "--json").json == {"queue": queue, "deleted": 4}
    assert taskq("queues", "--json").json
    left = {row["queue"]: row["lag"] for row in taskq("queues", "--steps", "--json").json}
    assert left[f"{queue}.p9"] == left[queue] == 0


def test_retries_timers_dead_letters_and_redrive_stay_in_their_step(
    place: Station, taskq: Taskq
) -> None:
    queue = place.queue
    worker = place.worker()
    failing = taskq("send", "wire.fail", "-a", '["no"]', "--priority", "7").out.strip()
    late = taskq("send", "wire.note", "--priority", "7", "--countdown", "1").out.strip()
    waiting = taskq("timers", "list", "--json").json
    assert {row["queue"] for row in waiting if row["id"] == late} <= {queue}

    wait_until(
        lambda: [each for each in place.ledger.entries("ran") if each.id == late],
        timeout=90,
        what="the delayed task",
    )
    seen = json.loads(next(each for each in place.ledger.entries("ran")).detail)
    assert seen["queue"] == queue
    letters = wait_until(
        lambda: taskq("dlq", "list", queue, "--json").json, timeout=90, what="a dead letter"
    )
    (letter,) = letters
    assert (letter["id"], letter["queue"]) == (failing, queue)
    assert letter["source"].startswith(f"{queue}.p6/")
    assert taskq("dlq", "show", letter["source"], "--json").json["id"] == failing
    found = taskq("find", failing, "--json").json
    assert (found["state"], found["queue"], found["topic"]) == (
        "dead letter",
        queue,
        f"{queue}.p6",
    )
    held = [name for row in taskq("workers", "--json").json for name in row["queues"]]
    assert {queue, f"{queue}.p6"} <= set(held)

    done = taskq("dlq", "redrive", queue, "--id", failing, "--yes")
    assert done.code == 0
    wait_until(
        lambda: taskq("dlq", "list", queue, "--json").json, timeout=90, what="it to fail again"
    )
    assert len(place.read(f"{queue}.p6")) == 3
    assert not place.read(queue)
    assert worker.stop() == 0


def test_queues_are_named_without_their_step(place: Station, taskq: Taskq) -> None:
    done = taskq("worker", "-A", "tests.support.wire_tasks", "-Q", f"{place.queue}.p9")

    assert done.code == 2
    assert "the ending .p9 is taken" in done.err
