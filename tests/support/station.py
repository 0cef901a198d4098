"""A queue on the test's Kafka with a `taskq worker` beside it, as programs on the other side of the wire meet them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from taskq import App
from taskq.sources import Sources
from taskq_kafka.offsets import State
from tests.support.kafka import QUIET
from tests.support.ledger import Entry, Ledger
from tests.support.names import fresh_name
from tests.support.processes import Process, Processes
from tests.support.waiting import Deadline, wait_until

TASKS = "tests.support.wire_tasks"
PATIENCE = 120.0
"""Seconds that anything may take: machines of tests are slow and shared."""

RawHeaders = Sequence[tuple[str, bytes | None]]


@dataclass
class Station:
    """A queue, a group, a ledger, and processes that know of them."""

    bootstrap: str
    folder: Path
    processes: Processes
    queue: str
    group: str
    variables: dict[str, str] = field(default_factory=dict)
    """More variables for the processes."""

    @property
    def ledger(self) -> Ledger:
        """Where tasks write what they did."""
        return Ledger(self.folder / f"{self.queue}.ledger")

    @property
    def environment(self) -> dict[str, str]:
        """What processes need to find all of it: taskq's and Celery's."""
        return {
            "TASKQ_BROKER": self.bootstrap,
            "TASKQ_DEFAULT_QUEUE": self.queue,
            "TASKQ_GROUP": self.group,
            "TEST_BROKER": f"taskq://{self.bootstrap}",
            "TEST_QUEUE": self.queue,
            "TEST_GROUP": self.group,
            "TEST_LEDGER": str(self.ledger.path),
            **self.variables,
        }

    def worker(self, *options: str) -> Process:
        """Start `taskq worker` on the queue and wait until it is ready."""
        process = self.processes.taskq("worker", "-A", TASKS, *options, env=self.environment)
        process.wait_for_line("ready", timeout=PATIENCE)
        return process

    def celery_worker(self, *options: str, variables: Mapping[str, str] = {}) -> Process:
        """Start a worker of Celery's on the queue and wait until it is ready."""
        command = ["-m", "celery", "-A", "tests.support.celery_app", "worker", "-l", "info"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        process = self.processes.python(
            *command, *quiet, *options, env={**self.environment, **variables}
        )
        process.wait_for_line(r"\bready\.", timeout=PATIENCE)
        return process

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run a command of `taskq` to its end; return its exit code and all that it printed."""
        process = self.processes.taskq(*arguments, env=self.environment)
        return process.wait(timeout=PATIENCE), process.text

    @contextmanager
    def app(self) -> Iterator[App]:
        """Give an app in this process that sends to the queue, whatever the environment says."""
        app = App("station", broker=self.bootstrap, default_queue=self.queue)
        app.adopt(Sources())
        yield app
        app.close()

    def produce(self, records: Sequence[tuple[bytes | None, RawHeaders | None]]) -> list[str]:
        """Write values and headers to the queue with the bare client; return QUEUE/PARTITION/OFFSET of each."""
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "message.max.bytes": 1_045_000,  # the client's own limit is below that of a topic
                "logger": QUIET,
            }
        )
        places = [""] * len(records)

        def reporter(number: int) -> Callable[[KafkaError | None, Message], None]:
            def report(error: KafkaError | None, message: Message) -> None:
                assert error is None, error
                places[number] = f"{self.queue}/{message.partition()}/{message.offset()}"

            return report

        for number, (value, headers) in enumerate(records):
            producer.produce(
                self.queue,
                value,
                headers=None if headers is None else list(headers),
                on_delivery=reporter(number),
            )
        assert producer.flush(PATIENCE) == 0
        assert all(places)
        return places

    def read(self, topic: str) -> list[Message]:
        """Return all records that a topic has now, with the bare client; none of a topic that does not exist."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
                "logger": QUIET,
            }
        )
        deadline = Deadline(PATIENCE)
        found: list[Message] = []
        ended = 0
        try:
            partitions = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            while ended < len(partitions):
                assert not deadline.is_over, f"the end of {topic} did not come"
                message = consumer.poll(0.2)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    ended += 1
        finally:
            consumer.close()
        return found

    def written(self, topic: str) -> int:
        """Return how many records were ever written to a topic; 0 if it does not exist."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "reader", "logger": QUIET}
        )
        try:
            partitions = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
            ends = [
                consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=PATIENCE)
                for number in partitions
            ]
        finally:
            consumer.close()
        return sum(high for _, high in ends if high)

    def settled(self, partition: int = 0) -> int:
        """Return how many records of a partition the group has settled, those above the committed offset too."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": self.group, "logger": QUIET}
        )
        try:
            asked = [TopicPartition(self.queue, partition)]
            (found,) = consumer.committed(asked, timeout=PATIENCE)
        finally:
            consumer.close()
        state = State.parse(max(found.offset, 0), found.metadata)
        return max(state.offset, state.settled_end) - len(state.unfinished)

    def dead_letters(self) -> dict[str, dict[str, str]]:
        """Return the `dlq-*` headers of the queue's dead letters by the task's id, or the source of a record without one."""
        letters = {}
        for message in self.read(f"{self.queue}.dlq"):
            said = {
                name: (value or b"").decode()
                for name, value in headers_of(message)
                if name.startswith("dlq-")
            }
            letters[said.get("dlq-id") or (message.key() or b"").decode()] = said
        return letters

    def dead_letter(self, id: str) -> dict[str, str]:
        """Wait until a task is among the dead letters; return what its letter says."""
        found = wait_until(
            lambda: self.dead_letters().get(id), timeout=PATIENCE, what=f"the dead letter of {id}"
        )
        assert found is not None
        return found

    def ran(self, id: str, event: str = "ran") -> Entry:
        """Wait until a task has written an event; return the line, which must be the only one so far."""
        ledger = self.ledger
        wait_until(lambda: id in ledger.ids(event), timeout=PATIENCE, what=f"{event} of {id}")
        (entry,) = (each for each in ledger.entries(event) if each.id == id)
        return entry


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """Return a record's headers, with the types that they really have."""
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def seen_by(entry: Entry) -> dict[str, Any]:
    """Return what the task `wire.note` wrote down."""
    seen: dict[str, Any] = json.loads(entry.detail)
    return seen


@contextmanager
def station(bootstrap: str, folder: Path, name: str) -> Iterator[Station]:
    """Give a new queue and group; kill at the end what was started."""
    with Processes(folder) as processes:
        yield Station(bootstrap, folder, processes, fresh_name(name), fresh_name(f"{name}-group"))
