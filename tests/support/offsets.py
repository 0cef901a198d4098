"""What a group has committed, asked from outside by a Consumer that joins nothing.

An AdminClient must not be asked: told "not the coordinator", as after a broker's start, it ends the process
(docs/decisions/0012-committed-offsets-by-a-consumer.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Consumer, TopicPartition

from tests.support.kafka import QUIET


def committed_offsets(
    bootstrap: str, group: str, places: Sequence[TopicPartition], *, timeout: float = 30.0
) -> dict[tuple[str, int], int]:
    """Return the group's offset of each topic and partition; below zero where it has none.

    Raises:
        KafkaException: The coordinator did not answer within `timeout` seconds.
    """
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "logger": QUIET})
    try:
        found = consumer.committed(list(places), timeout=timeout)
    finally:
        consumer.close()
    return {(each.topic, each.partition): each.offset for each in found}
