"""The two clients of an owner on a real broker: one after the other, and shut out together."""

from __future__ import annotations

import pytest

from taskq_kafka.options import TransportOptions
from taskq_kafka.questions import Questions
from taskq_kafka.reader import Reader
from taskq_kafka.transactionalproducer import TransactionalProducer, shut_out
from taskq_kafka.transactions import Broken, Line
from tests.support.kafka import Kafka, create_topic

PATIENCE = 30.0


@pytest.fixture
def options(kafka: Kafka) -> TransportOptions:
    return TransportOptions(bootstrap=kafka.bootstrap)


def lines(topic: str, *values: bytes) -> list[Line]:
    return [(topic, 0, None, value, []) for value in values]


def values(options: TransportOptions, topic: str) -> list[bytes | None]:
    """Return what stands in a topic, for those who read what is committed."""
    reader = Reader(options)
    try:
        partitions = Questions(options).partitions(topic, PATIENCE)
        return [each.value() for each in reader.read_all(topic, partitions, timeout=PATIENCE)]
    finally:
        reader.close()


def test_transactions_of_both_clients_stand_in_the_order_in_which_they_were_written(
    options: TransportOptions, kafka: Kafka, topic: str
) -> None:
    create_topic(kafka.bootstrap, topic, partitions=1)
    producer = TransactionalProducer(options, f"{topic}-owner")

    for number in range(5):
        producer.write(lines(topic, b"%d" % number))

    assert values(options, topic) == [b"0", b"1", b"2", b"3", b"4"]


def test_an_owner_that_is_shut_out_commits_with_neither_of_its_clients(
    options: TransportOptions, kafka: Kafka, topic: str
) -> None:
    create_topic(kafka.bootstrap, topic, partitions=1)
    producer = TransactionalProducer(options, f"{topic}-owner")

    shut_out(options, producer.id)

    for value in (b"first", b"second"):
        with pytest.raises(Broken):
            producer.write(lines(topic, value))
    assert values(options, topic) == []


def test_how_many_partitions_a_topic_has_is_known_after_it_was_looked_up(
    options: TransportOptions, kafka: Kafka, topic: str
) -> None:
    create_topic(kafka.bootstrap, topic, partitions=3)
    producer = TransactionalProducer(options, f"{topic}-owner")
    before = producer.partitions(topic)

    assert producer.look_up(topic, timeout=PATIENCE)

    assert (before, producer.partitions(topic)) == (None, 3)
