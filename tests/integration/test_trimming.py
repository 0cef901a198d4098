"""Deleting finished records, on a real broker: what may go, and what must stay."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from taskq_kafka.admin import Admin
from taskq_kafka.options import TransportOptions
from tests.support.kafka import QUIET, Kafka, admin
from tests.support.scene import Scene
from tests.support.waiting import wait_until

DAY = 86_400.0


class Queue:
    """A topic with two partitions, made as taskq makes queues."""

    def __init__(self, kafka: Kafka, name: str) -> None:
        self.name = name
        self._kafka = kafka
        self._admin = Admin(TransportOptions(bootstrap=kafka.bootstrap, partitions=2))
        self._admin.create_queue(name, timeout=20)

    def send(self, partition: int, count: int, *, days_ago: float) -> None:
        """Write records that were sent long ago, or as long as another program says."""
        producer = Producer({"bootstrap.servers": self._kafka.bootstrap, "logger": QUIET})
        at = int((time.time() - days_ago * DAY) * 1000)  # noqa: TID251 - the broker's clock is the system's
        for _ in range(count):
            producer.produce(self.name, b"x", partition=partition, timestamp=at)
        assert producer.flush(10) == 0

    def commit(self, group: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets by partition for a group without members."""
        config = {"bootstrap.servers": self._kafka.bootstrap, "group.id": group, "logger": QUIET}
        consumer = Consumer({**config, "enable.auto.commit": False})
        places = [TopicPartition(self.name, number, at) for number, at in offsets.items()]
        for place in consumer.commit(offsets=places, asynchronous=False) or []:
            assert place.error is None
        consumer.close()

    def trim(self, keep: float = DAY) -> Mapping[str, int]:
        return self._admin.trim([self.name], keep=keep, timeout=30)

    def firsts(self) -> list[int]:
        """Return the first offset of each partition."""
        return first_offsets(self._kafka, self.name, 2)


def first_offsets(kafka: Kafka, topic: str, partitions: int) -> list[int]:
    wanted = {TopicPartition(topic, number): OffsetSpec.earliest() for number in range(partitions)}
    client = admin(kafka.bootstrap)  # kept: one that is collected never answers
    answers = client.list_offsets(wanted)
    found = {place.partition: answer.result(20).offset for place, answer in answers.items()}
    return [found[number] for number in range(partitions)]


@pytest.fixture
def old(kafka: Kafka, queue: str) -> Queue:
    """Give a queue with ten records of two days ago in each partition."""
    made = Queue(kafka, queue)
    for number in (0, 1):
        made.send(number, 10, days_ago=2)
    return made


def test_what_every_group_has_committed_goes_and_what_one_has_not_stays(
    old: Queue, group: str
) -> None:
    old.commit(group, {0: 8, 1: 10})
    old.commit(f"{group}-slower", {0: 5, 1: 10})

    assert old.trim() == {old.name: 15}
    assert old.firsts() == [5, 10]
    assert old.trim() == {}


def test_partition_that_a_reading_group_has_not_begun_stays_whole(old: Queue, group: str) -> None:
    old.commit(group, {0: 10, 1: 10})
    old.commit(f"{group}-new", {0: 10})

    assert old.trim() == {old.name: 10}
    assert old.firsts() == [10, 0]


def test_what_nobody_has_committed_stays(old: Queue) -> None:
    assert old.trim() == {}
    assert old.firsts() == [0, 0]


def test_finished_records_stay_as_long_as_they_are_kept(old: Queue, group: str) -> None:
    old.send(0, 10, days_ago=0.5)
    old.commit(group, {0: 20, 1: 10})

    assert old.trim() == {old.name: 20}
    assert old.firsts() == [10, 10]


def test_topic_with_a_retention_of_its_own_is_left_alone(
    kafka: Kafka, queue: str, group: str
) -> None:
    kafka.create_topic(queue, partitions=2)
    made = Queue(kafka, queue)
    made.send(0, 10, days_ago=2)
    made.commit(group, {0: 10})

    assert made.trim() == {}


def test_queue_that_does_not_exist_is_passed_over(kafka: Kafka, queue: str) -> None:
    admin = Admin(TransportOptions(bootstrap=kafka.bootstrap))

    assert admin.trim([queue], keep=DAY, timeout=20) == {}


def test_worker_deletes_what_it_has_finished_and_runs_what_comes_after(
    kafka: Kafka, scene: Scene
) -> None:
    made = Admin(TransportOptions(bootstrap=kafka.bootstrap, partitions=1))
    made.create_queue(scene.queue, timeout=20)
    worker = scene.ready_worker(env={"TASKQ_KEEP_FINISHED": "0.001"})
    scene.wait_ended(*scene.send_many(20))

    worker.wait_for_line("finished records of queue", timeout=90)
    wait_until(
        lambda: first_offsets(kafka, scene.queue, 1)[0] >= 20, timeout=90, what="twenty deleted"
    )
    scene.wait_ended(*scene.send_many(5))

    assert worker.stop() == 0, worker.text
    assert scene.ran_twice() == {}
    assert scene.never_ran() == set()
