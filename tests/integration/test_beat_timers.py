"""A beat keeps the time of waiting tasks, also where no worker does."""

from __future__ import annotations

import json
from pathlib import Path

from taskq import App
from tests.support.kafka import Kafka
from tests.support.names import fresh_name
from tests.support.processes import Processes
from tests.support.topicreader import read_topic
from tests.support.waiting import wait_until


def test_delayed_task_is_sent_by_a_beat(kafka: Kafka, processes: Processes, tmp_path: Path) -> None:
    prefix = fresh_name("beat") + "."
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps([{"id": "a", "cron": "@yearly", "task": "t", "queue": "q"}]))
    beat = processes.taskq(
        *("beat", "-s", str(file), "-b", kafka.bootstrap), env={"TASKQ_PREFIX": prefix}
    )
    beat.wait_for_line("beat is ready", timeout=30)
    app = App("sender", broker=kafka.bootstrap, prefix=prefix)
    try:
        id = app.send_task("t", queue="q", countdown=0.5).id
    finally:
        app.close()

    def sent() -> list[str]:
        return [seen.id for seen in read_topic(kafka.bootstrap, f"{prefix}q")]

    wait_until(lambda: sent() == [id], timeout=30, what="the task")
    assert beat.stop() == 0
