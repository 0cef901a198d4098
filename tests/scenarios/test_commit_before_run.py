"""A task is claimed before it starts.

Nothing fails here but the speed of the broker: its answers to commits, or the commits themselves, are a second late. While a task
runs it asks the broker, past the proxy, how far its partition is committed, and must find that beyond itself, in each pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskq import App
from tests.scenarios.apps import claims
from tests.support.faults import Stage
from tests.support.frames import ApiKey
from tests.support.kafka import Kafka
from tests.support.ledger import Ledger
from tests.support.processes import Process, Processes
from tests.support.proxy import Proxy

POOLS = ("prefork", "threads", "asyncio", "solo")
SLOTS = {"solo": 1}
DELAY = 1.0
PATIENCE = 120.0
TASKS = ("looks", "looks_async")


@dataclass(frozen=True)
class Look:
    """What one task saw."""

    id: str
    partition: int
    offset: int
    committed: int
    begun: float


class Scene:
    """A queue with tasks that look, and a worker for them."""

    def __init__(self, kafka: Kafka, queue: str, group: str, processes: Processes, ledger: Ledger):
        self._kafka, self._queue, self._group = kafka, queue, group
        self._processes, self._ledger = processes, ledger
        kafka.create_topic(queue, partitions=2)

    def send(self, count: int) -> list[str]:
        """Send tasks of both kinds in turns; return their ids."""
        app = App("sender", broker=self._kafka.bootstrap)
        try:
            return [
                app.send_task(TASKS[number % len(TASKS)], queue=self._queue).id
                for number in range(count)
            ]
        finally:
            app.broker.close()

    def start_worker(self, bootstrap: str, pool: str) -> Process:
        slots = SLOTS.get(pool, 2)
        return self._processes.taskq(
            *("worker", "-A", claims.__name__, "-b", bootstrap, "--group", self._group),
            # Who keeps the time of waiting tasks commits, too: here each commit is to be a claim.
            *("-Q", self._queue, "-P", pool, "-c", str(slots), "--no-timers"),
            env={claims.BOOTSTRAP: self._kafka.bootstrap, claims.LEDGER: str(self._ledger.path)},
        )

    def wait_for_looks(self, count: int) -> list[Look]:
        entries = self._ledger.wait_for(count, event="looked", timeout=PATIENCE)
        looks = []
        for entry in entries:
            partition, offset, committed, begun = entry.detail.split()
            looks.append(Look(entry.id, int(partition), int(offset), int(committed), float(begun)))
        return looks


@pytest.fixture
def scene(kafka: Kafka, queue: str, group: str, tmp_path: Path) -> Iterator[Scene]:
    with Processes(tmp_path) as processes:
        yield Scene(kafka, queue, group, processes, Ledger(tmp_path / "ledger"))


def assert_committed_beyond_itself(looks: list[Look], sent: list[str]) -> None:
    assert sorted(look.id for look in looks) == sorted(sent)
    assert [look for look in looks if look.committed <= look.offset] == []


@pytest.mark.parametrize("pool", POOLS)
def test_running_task_finds_its_offset_committed(kafka: Kafka, scene: Scene, pool: str) -> None:
    sent = scene.send(100)

    worker = scene.start_worker(kafka.bootstrap, pool)
    looks = scene.wait_for_looks(len(sent))

    assert_committed_beyond_itself(looks, sent)
    assert worker.stop() == 0


@pytest.mark.parametrize("pool", POOLS)
def test_no_task_starts_before_the_late_answer_to_its_commit(
    proxied_kafka: Proxy, scene: Scene, pool: str
) -> None:
    sent = scene.send(8)

    with proxied_kafka.hold_answers(ApiKey.OFFSET_COMMIT, seconds=DELAY):
        worker = scene.start_worker(proxied_kafka.bootstrap, pool)
        looks = scene.wait_for_looks(len(sent))

    # Not when the answer was passed on: that is noted when the worker may be at work already.
    held = proxied_kafka.seen(ApiKey.OFFSET_COMMIT, stage=Stage.ANSWER)
    assert min(look.begun for look in looks) > held[0].at + DELAY
    assert_committed_beyond_itself(looks, sent)
    assert worker.stop() == 0


@pytest.mark.parametrize("pool", POOLS)
def test_no_task_starts_before_its_late_commit_has_reached_the_broker(
    proxied_kafka: Proxy, scene: Scene, pool: str
) -> None:
    sent = scene.send(8)

    with proxied_kafka.hold_requests(ApiKey.OFFSET_COMMIT, seconds=DELAY):
        worker = scene.start_worker(proxied_kafka.bootstrap, pool)
        looks = scene.wait_for_looks(len(sent))

    assert_committed_beyond_itself(looks, sent)
    assert worker.stop() == 0
