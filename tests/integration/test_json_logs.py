"""`--log-format json` as whoever collects logs sees it: every line of a worker's and beat's stderr is one JSON object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.kafka import Kafka
from tests.support.processes import Process, Processes
from tests.support.scene import START_SECONDS, Scene


def said(process: Process) -> list[dict[str, Any]]:
    """Return the objects that a process has written, one a line; a line that is none fails the test."""
    return [json.loads(line) for line in process.text.split("\n")[:-1]]


def one(process: Process, event: str, **fields: object) -> dict[str, Any]:
    """Return the only object of an event with such fields."""
    (found,) = (
        each
        for each in said(process)
        if each.get("event") == event and fields.items() <= each.items()
    )
    return found


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_workers_lines_say_which_task_stood_where(scene: Scene, pool: str) -> None:
    # Clusters inject variables like this one: its warning comes before anything is configured.
    env = {"TASKQ_SERVICE_HOST": "10.0.0.1"}
    worker = scene.worker("-P", pool, "--log-format", "json", "-n", "w1", env=env)
    worker.wait_for_line('"worker.ready"', timeout=START_SECONDS)
    good, bad = scene.send(), scene.send("fail", "no")
    scene.wait_letters(bad)
    worker.wait_for_line(f'"task.failed".*{bad}', timeout=START_SECONDS)
    worker.wait_for_line(f'"task.succeeded".*{good}', timeout=START_SECONDS)

    assert worker.stop() == 0
    ready = one(worker, "worker.ready")
    assert (ready["worker"], ready["queues"]) == ("w1", [scene.queue])
    assert (ready["pool"], ready["concurrency"]) == (pool, 1)
    succeeded, failed = one(worker, "task.succeeded", id=good), one(worker, "task.failed", id=bad)
    place = f"{scene.queue}/{failed['partition']}/{failed['offset']}"
    assert scene.letters()[bad].source == place
    assert (succeeded["task"], succeeded["queue"], succeeded["level"]) == (
        "act",
        scene.queue,
        "INFO",
    )
    assert (failed["error"], failed["level"]) == ("ValueError: no", "ERROR")
    assert failed["traceback"].endswith("ValueError: no\n")
    assert one(worker, "settings.unknown_variable")["variable"] == "TASKQ_SERVICE_HOST"
    assert one(worker, "worker.stopped")["time"].endswith("Z")


def test_beats_lines_are_json(
    kafka: Kafka, processes: Processes, queue: str, tmp_path: Path
) -> None:
    entry = {"id": "a", "cron": "* * * * * *", "task": "act", "queue": queue}
    (tmp_path / "plan.json").write_text(json.dumps([entry]))
    command = ("beat", "-s", "plan.json", "-b", kafka.bootstrap, "-l", "debug")
    own = ("--namespace", queue)  # other tests have a plan.json, too

    beat = processes.taskq(*command, *own, "--log-format", "json")
    beat.wait_for_line('"occurrence.sent"', timeout=START_SECONDS)

    assert beat.stop() == 0
    assert {"beat.started", "beat.stopped"} <= {each.get("event") for each in said(beat)}


def test_the_error_that_ends_a_worker_is_json_too(processes: Processes) -> None:
    env = {"TASKQ_LOG_FORMAT": "json", "TASKQ_CONNECT_TIMEOUT": "0.2"}

    worker = processes.taskq(
        "worker", "-A", "tests.support.pool_tasks", "-b", "127.0.0.1:1", env=env
    )

    assert worker.wait() == 3
    failed = one(worker, "command.failed")
    assert failed["exit_code"] == 3
    assert "127.0.0.1:1" in failed["message"]


def test_a_wrong_format_is_one_line(processes: Processes) -> None:
    worker = processes.taskq("worker", "--log-format", "jsn")

    assert worker.wait() == 2
    assert worker.text.count("\n") == 1
    assert "did you mean 'json'?" in worker.text
