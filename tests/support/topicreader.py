"""What stands in a topic for a reader of committed records, from its beginning to its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from taskq_kafka.records import headers_of
from tests.support.kafka import QUIET
from tests.support.waiting import Deadline


@dataclass(frozen=True)
class Seen:
    """One record."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]

    @property
    def id(self) -> str:
        """The task's id."""
        return self.headers["id"].decode()


def read_topic(
    bootstrap: str, topic: str, *, timeout: float = 60.0, isolation: str = "read_committed"
) -> list[Seen]:
    """Return all records of a topic that exists, each partition in its order. Blocks.

    Raises:
        TimeoutError: The end did not come within `timeout` seconds.
    """
    settings: dict[str, object] = {
        "bootstrap.servers": bootstrap,
        "group.id": "nobody",
        "enable.partition.eof": True,
        "isolation.level": isolation,
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 10,
        "logger": QUIET,
    }
    consumer = Consumer(settings)
    try:
        return list(_read(consumer, topic, Deadline(timeout)))
    finally:
        consumer.close()


def _read(consumer: Consumer, topic: str, deadline: Deadline) -> Iterator[Seen]:
    partitions = consumer.list_topics(topic, timeout=deadline.remaining).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    left = set(partitions)
    while left:
        if deadline.is_over:
            raise TimeoutError(f"{topic} {sorted(left)} could not be read to the end")
        message = consumer.poll(0.5)
        if message is None:
            continue
        error = message.error()
        if error is None:
            yield Seen(
                partition=message.partition() or 0,
                offset=message.offset() or 0,
                timestamp_ms=message.timestamp()[1],
                key=message.key(),
                value=message.value(),
                headers={name: value or b"" for name, value in headers_of(message)},
            )
        elif error.code() == KafkaError._PARTITION_EOF:
            left.discard(message.partition() or 0)
        else:
            raise KafkaException(error)
