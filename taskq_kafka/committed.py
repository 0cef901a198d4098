"""What a consumer group has committed, asked from outside of it.

By a Consumer that joins nothing: an AdminClient that is told "not the coordinator" ends the process
(docs/decisions/0012-committed-offsets-by-a-consumer.md).
"""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaException, TopicPartition

from .forks import new_consumer
from .options import TransportOptions


def committed(
    options: TransportOptions, group: str, places: Iterable[TopicPartition], *, timeout: float
) -> list[TopicPartition]:
    """Return the places with the group's offsets and their metadata; below zero where it has none.

    Blocks for a connection and a round trip, at most `timeout` seconds. Any thread may call it.

    Args:
        options: The connection's options.
        group: The group's id, with the prefix.
        places: Topics and partitions.
        timeout: Seconds.

    Raises:
        KafkaException: The coordinator refused, or did not answer in time.
    """
    consumer = new_consumer({**options.reader_config(), "group.id": group})
    try:
        found = consumer.committed(list(places), timeout=timeout)
    finally:
        consumer.close()
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    return found
