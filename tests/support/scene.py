"""A scene: one queue and one group on a broker, workers on it, and a ledger in which `scene_tasks` write what they do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from confluent_kafka import Producer, TopicPartition

from taskq import App
from taskq.letters.deadletters import DeadLetterView, read_dead_letter
from tests.support.kafka import QUIET, Kafka, admin
from tests.support.ledger import Entry, Ledger
from tests.support.names import fresh_name
from tests.support.offsets import committed_offsets
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until

READY = r"worker: ready$"
"""The line of a worker that has joined its group and has all its pool processes."""

START_SECONDS = 90.0
"""For a worker's start. An idle machine needs 2, and a start of Python alone takes a busy one 7."""

PATIENCE = 60.0
"""Seconds for anything else, such as what waits for a session's end and the start of processes."""


class Scene:
    """Sends tasks to one queue, starts workers on it and looks at what became of the tasks. One thread uses it."""

    def __init__(
        self, kafka: Kafka, processes: Processes, ledger: Ledger, *, queue: str, group: str
    ) -> None:
        """Prepare; nothing is started or connected.

        Args:
            kafka: The broker; may be down later.
            processes: Starts the workers.
            ledger: Theirs, empty.
            queue: A fresh name.
            group: A fresh name.
        """
        self.kafka = kafka
        self.processes = processes
        self.ledger = ledger
        self.queue = queue
        self.group = group
        self.sent: list[str] = []
        """The ids of all that was sent, in that order."""

        self._admin = admin(kafka.bootstrap)
        self._sender = App("sender", broker=kafka.bootstrap, group=group)

    def __enter__(self) -> Scene:
        """Nothing is connected yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the sender; the workers are the `Processes`'."""
        self._sender.close()

    # Workers

    def worker(
        self,
        *options: str,
        slots: int = 1,
        app: str = "tests.support.scene_tasks",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:
        """Start a worker and return at once."""
        return self.processes.taskq(
            *("worker", "-A", app, "-b", self.kafka.bootstrap),
            *("-Q", self.queue, "--group", self.group, "-c", str(slots), *options),
            # Its tasks' own queue, so that the worker does not warn of a -Q that no task has.
            env={
                "TEST_LEDGER": str(self.ledger.path),
                "TASKQ_DEFAULT_QUEUE": self.queue,
                **(env or {}),
            },
            cwd=cwd,
        )

    def ready_worker(self, *options: str, **more: Any) -> Process:
        """Start a worker and wait until it is ready; see `worker`."""
        process = self.worker(*options, **more)
        process.wait_for_line(READY, timeout=START_SECONDS)
        return process

    # Tasks

    def send(
        self,
        what: str = "nothing",
        detail: object = "",
        *,
        key: str | None = None,
        late: bool = False,
    ) -> str:
        """Send one task of `scene_tasks` and return its id; the broker has it then. A `late` one has `acks_late`."""
        name = "act late" if late else "act"
        result = self._sender.send_task(name, (what, str(detail)), queue=self.queue, key=key)
        self.sent.append(result.id)
        return result.id

    def send_task(self, name: str, *, key: str | None = None) -> str:
        """Send a task of another app, and return its id; it is not counted among `sent`."""
        return self._sender.send_task(name, queue=self.queue, key=key).id

    def send_step(self, key: str, number: int, *args: object, late: bool = False) -> str:
        """Send one of the tasks of a key: `step` of `scene_tasks`, with its failures and seconds; return its id."""
        name = "step late" if late else "step"
        result = self._sender.send_task(name, (key, number, *args), queue=self.queue, key=key)
        self.sent.append(result.id)
        return result.id

    def send_many(self, count: int, *, late: bool = False) -> list[str]:
        """Send so many that do nothing."""
        return [self.send(late=late) for _ in range(count)]

    def send_at(self, seconds: float) -> str:
        """Send a task that does nothing, as a record that is as old as another program says; return its id.

        Args:
            seconds: After now; negative for the past.
        """
        id = fresh_name("record")
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "logger": QUIET})
        at = datetime.now(timezone.utc).timestamp() + seconds  # noqa: TID251 - the broker's clock is the system's
        value = json.dumps({"task": "act", "id": id})
        producer.produce(self.queue, value, timestamp=int(at * 1000))
        assert producer.flush(PATIENCE) == 0
        self.sent.append(id)
        return id

    def gate(self, name: str = "gate") -> Path:
        """Return the path of a gate; a task that waits for it goes on when it is touched."""
        return self.ledger.path.with_name(f"{self.ledger.path.name}-{name}")

    def hold(self, gate: Path) -> Entry:
        """Send a task that waits for a gate, wait until it has started and return its line."""
        return self.wait_started(self.send("wait for gate", gate))

    def make_short(self, count: int = 200) -> None:
        """Run so many tasks that the workers know them as short and claim them ahead."""
        self.wait_ended(*self.send_many(count))

    def wait_started(self, id: str, *, timeout: float = PATIENCE) -> Entry:
        """Wait until a task has started, and return its line."""
        return self._wait_for("started", (id,), timeout)[0]

    def wait_ended(self, *ids: str, timeout: float = PATIENCE) -> list[Entry]:
        """Wait until tasks have ended, and return their lines."""
        return self._wait_for("ended", ids, timeout)

    def _wait_for(self, event: str, ids: tuple[str, ...], timeout: float) -> list[Entry]:
        wanted = set(ids)

        def look() -> list[Entry]:
            found = [entry for entry in self.ledger.entries(event) if entry.id in wanted]
            return found if {entry.id for entry in found} == wanted else []

        what = f"{len(wanted)} tasks to have {event}, such as {ids[0]}"
        return wait_until(look, timeout=timeout, what=what)

    # What became of them

    def steps(self) -> dict[str, list[tuple[int, int]]]:
        """Return by key the runs of its tasks in the order in which they began: number and retries.

        Raises:
            AssertionError: Two of a key were at work at the same time.
        """
        found: dict[str, list[tuple[int, int]]] = {}
        running: dict[str, str] = {}
        for entry in self.ledger.entries():
            if entry.event == "began":
                key, number, retries = entry.detail.split()
                assert key not in running, f"{entry.detail} began while {running[key]} ran"
                running[key] = entry.detail
                found.setdefault(key, []).append((int(number), int(retries)))
            elif entry.event == "left":
                assert running.pop(entry.detail.split()[0]) == entry.detail
        return found

    def wait_left(self, count: int, *, timeout: float = PATIENCE) -> None:
        """Wait until so many runs of steps have ended."""
        wait_until(
            lambda: len(self.ledger.entries("left")) >= count,
            timeout=timeout,
            what=f"the end of {count} steps",
        )

    def started(self, id: str) -> list[Entry]:
        """Return the lines that say a task has started; more than one is what must never be."""
        return [entry for entry in self.ledger.entries("started") if entry.id == id]

    def ran_twice(self) -> dict[str, int]:
        """Return the ids that started more than once."""
        return self.ledger.tally(self.sent, event="started").twice

    def never_ran(self) -> set[str]:
        """Return the ids that were sent and did not start."""
        return self.ledger.tally(self.sent, event="started").never

    def deliveries(self, id: str) -> list[str]:
        """Return what a late task's deliveries said of themselves: `COUNT REDELIVERED`."""
        return [entry.detail for entry in self.ledger.entries("delivered") if entry.id == id]

    def pids(self) -> set[int]:
        """Return the processes that have started tasks."""
        return self.pids_of("started")

    def pids_of(self, event: str) -> set[int]:
        """Return the processes that have written an event."""
        return {entry.pid for entry in self.ledger.entries(event)}

    def claimed(self) -> int:
        """Return how many records the group has claimed, summed over the partitions."""
        client = self._admin
        topic = client.list_topics(self.queue, timeout=PATIENCE).topics[self.queue]
        partitions = [TopicPartition(self.queue, number) for number in topic.partitions]
        found = committed_offsets(self.kafka.bootstrap, self.group, partitions)
        return sum(max(0, offset) for offset in found.values())

    def wait_claimed(self, count: int, *, timeout: float = PATIENCE) -> None:
        """Wait until the group has claimed so many records in all."""
        wait_until(
            lambda: self.claimed() >= count, timeout=timeout, what=f"the claim of {count} records"
        )

    def letters(self) -> dict[str, DeadLetterView]:
        """Return the queue's dead letters by task id."""
        found = self._sender.broker.admin.dead_letters(self.queue, timeout=PATIENCE)
        return {letter.id: letter for letter in map(read_dead_letter, found)}

    def wait_letters(self, *ids: str, timeout: float = PATIENCE) -> dict[str, DeadLetterView]:
        """Wait until tasks are in the dead letters, and return all of these."""

        def look() -> dict[str, DeadLetterView]:
            letters = self.letters()
            return letters if letters.keys() >= set(ids) else {}

        return wait_until(look, timeout=timeout, what=f"dead letters of {', '.join(ids)}")
