"""The original system's schedule file, unchanged, through one beat and several workers.

Its four entries are due every second. Each entry and second must run exactly once, whichever worker has its partition, also while
one worker stops (it finishes what it runs) and another takes over.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.scenarios.apps import original
from tests.support.kafka import Kafka
from tests.support.ledger import Entry, Ledger
from tests.support.names import fresh_name
from tests.support.processes import Process, Processes
from tests.support.topicreader import Seen, read_topic
from tests.support.waiting import wait_until

DATA = Path(__file__).parents[1] / "data" / "taskscheduler.json"
ENTRIES = ("1", "2", "3", "4")


class Stage:
    """One prefix on the broker, so that the file's own queue name is ours alone."""

    def __init__(self, kafka: Kafka, processes: Processes, folder: Path) -> None:
        self._processes = processes
        self._prefix = fresh_name("schedule") + "."
        self._bootstrap = kafka.bootstrap
        self.ledger = Ledger(folder / "ledger")
        self.file = folder / "taskscheduler.json"

    def worker(self, name: str) -> Process:
        worker = self._taskq(
            *("worker", "-A", "tests.scenarios.apps.original", "-c", "2", "-n", name),
            *("-Q", "taskTopic"),
            env={original.LEDGER: str(self.ledger.path), original.WORKER: name},
        )
        worker.wait_for_line(r"worker: ready$", timeout=60)
        return worker

    def beat(self, *options: str) -> Process:
        beat = self._taskq("beat", "-s", str(self.file), *options)
        beat.wait_for_line("beat is ready", timeout=60)
        return beat

    def _taskq(self, *arguments: str, env: dict[str, str] | None = None) -> Process:
        return self._processes.taskq(
            *arguments,
            *("-b", self._bootstrap),
            env={"TASKQ_PREFIX": self._prefix, **(env or {})},
        )

    def sent(self) -> list[Seen]:
        """Return what stands in the queue."""
        return read_topic(self._bootstrap, f"{self._prefix}taskTopic")

    def ran(self, entry: str = "") -> list[Entry]:
        """Return the runs of an entry; of all, without one."""
        lines = self.ledger.entries("ran")
        return [
            line for line in lines if not entry or line.id.startswith(f"taskscheduler/{entry}@")
        ]

    def wait_for_runs_of(self, worker: str, count: int) -> None:
        """Wait until a worker has run so many more tasks."""
        before = len(self.ran_by(worker))
        wait_until(
            lambda: len(self.ran_by(worker)) >= before + count,
            timeout=60,
            what=f"{count} runs by {worker}",
        )

    def ran_by(self, worker: str) -> list[Entry]:
        return [line for line in self.ran() if line.detail.startswith(f"{worker} ")]


@pytest.fixture
def stage(kafka: Kafka, processes: Processes, tmp_path: Path) -> Stage:
    stage = Stage(kafka, processes, tmp_path)
    shutil.copy(DATA, stage.file)
    return stage


def seconds_of(lines: list[Entry]) -> list[datetime]:
    """Return the planned instants in the ids, in their order."""
    return sorted(
        datetime.fromisoformat(line.id.partition("@")[2].replace("Z", "+00:00")) for line in lines
    )


def assert_every_second_once(lines: list[Entry]) -> None:
    seconds = seconds_of(lines)
    wanted = [seconds[0] + timedelta(seconds=i) for i in range(len(seconds))]
    assert seconds == wanted


def test_each_entry_and_second_of_the_original_file_runs_exactly_once(stage: Stage) -> None:
    first, second = stage.worker("first"), stage.worker("second")
    beat = stage.beat()
    stage.wait_for_runs_of("first", 12)
    stage.wait_for_runs_of("second", 12)

    third = stage.worker("third")
    assert first.stop() == 0  # it drains: what it had claimed has run
    first.wait_gone()
    stage.wait_for_runs_of("third", 12)
    assert beat.stop() == 0
    sent = {each.id for each in stage.sent()}
    wait_until(
        lambda: {line.id for line in stage.ran()} >= sent, timeout=60, what="all that was sent"
    )
    assert second.stop() == 0
    assert third.stop() == 0

    for entry in ENTRIES:
        assert_every_second_once(stage.ran(entry))
    assert set(Counter(line.id for line in stage.ran()).values()) == {1}
    for line in stage.ran():
        _, due, _ = line.detail.split(" ", 2)
        assert datetime.fromisoformat(due) == seconds_of([line])[0]
    assert {line.detail.split(" ", 2)[2] for line in stage.ran("1")} == {
        "['Ireland', 'Germany', 'Italy']"
    }


def native(id: str, task: str = "invoice") -> dict[str, object]:
    return {
        "id": id,
        "cron": "* * * * * *",
        "task": task,
        "queue": "taskTopic",
        "kwargs": {"param": id},
    }


def test_a_changed_file_is_taken_over_and_a_broken_one_is_not(stage: Stage) -> None:
    stage.file.write_text(json.dumps([native("a"), native("b")]))
    worker, beat = stage.worker("only"), stage.beat()
    wait_until(lambda: stage.ran("a") and stage.ran("b"), timeout=60, what="runs of a and b")

    stage.file.write_text(json.dumps([native("a"), native("c")]))
    beat.wait_for_line("taskscheduler/c added")
    beat.wait_for_line("taskscheduler/b removed")
    wait_until(lambda: stage.ran("c"), timeout=60, what="runs of c")
    removed = len(stage.ran("b"))

    stage.file.write_text('[{"id": "d", "cron": "61 * * * * *", "task": "invoice"}]')
    complaint = beat.wait_for_line(r"'61 \* \* \* \* \*'")  # 61 alone may be in a port
    stage.wait_for_runs_of("only", 4)
    assert "Traceback" not in beat.text
    assert "entry 1 ('d')" in complaint.string

    assert beat.stop() == 0
    assert worker.stop() == 0
    assert not stage.ran("d")
    assert len(stage.ran("b")) <= removed + 1  # one may have been on its way
    assert_every_second_once(stage.ran("a"))
