"""A client that stays cut off from a broker that is back: its commit never returns, and another client goes on. On a real Kafka.

The proxy stands for what librdkafka does by itself after some outages: of the member's commits and heartbeats nothing arrives.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from taskq_kafka import lane
from taskq_kafka.consumer import QueueConsumer
from taskq_kafka.groups import Groups
from taskq_kafka.options import TransportOptions
from taskq_kafka.records import Record
from tests.support.frames import ApiKey
from tests.support.kafka import Kafka
from tests.support.proxy import Proxy
from tests.support.waiting import Deadline

PATIENCE = 60.0
NAME = "cut-off"


@pytest.fixture(autouse=True)
def asked_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "PATIENCE", 1.0)


@pytest.fixture(params=["consumer", "classic"])
def consumer(
    kafka: Kafka, proxied_kafka: Proxy, queue: str, group: str, request: pytest.FixtureRequest
) -> Iterator[QueueConsumer]:
    kafka.create_topic(queue, partitions=1)
    options = TransportOptions(
        bootstrap=proxied_kafka.bootstrap,
        group=group,
        group_protocol=request.param,
        heartbeat=0.5,
        client_id=NAME,
    )
    consumer = QueueConsumer(options, queue, groups=Groups(options), tags=itertools.count(1))
    yield consumer
    consumer.close()


@pytest.fixture
def send(kafka: Kafka, queue: str) -> Callable[[bytes], None]:
    def send(value: bytes) -> None:
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        producer.produce(queue, value)
        assert producer.flush(30) == 0

    return send


def fetch_one(consumer: QueueConsumer) -> Record:
    deadline = Deadline(PATIENCE)
    while not deadline.is_over:
        for record in consumer.fetch(1, 0.05):
            return record
    raise AssertionError("nothing came")


def test_a_claim_whose_client_stays_away_is_refused_and_comes_again_to_the_next_client(
    consumer: QueueConsumer,
    send: Callable[[bytes], None],
    proxied_kafka: Proxy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    send(b"one")
    record = fetch_one(consumer)
    cut_off = proxied_kafka.drop_requests(
        ApiKey.OFFSET_COMMIT,
        ApiKey.CONSUMER_GROUP_HEARTBEAT,
        ApiKey.HEARTBEAT,
        ApiKey.JOIN_GROUP,
        client_id=NAME,
    )

    assert consumer.claim([record]) == ([], [record])
    proxied_kafka.remove(cut_off)
    again = fetch_one(consumer)

    assert (again.value, again.offset) == (b"one", 0)
    assert consumer.claim([again]) == ([again], [])
    assert "the group has forgotten this member" in caplog.text


def test_a_claim_that_was_taken_before_its_client_stayed_away_is_granted(
    consumer: QueueConsumer,
    send: Callable[[bytes], None],
    proxied_kafka: Proxy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    send(b"one")
    record = fetch_one(consumer)
    no_answer = proxied_kafka.drop_answers(ApiKey.OFFSET_COMMIT, client_id=NAME)
    no_heartbeat = proxied_kafka.drop_requests(
        ApiKey.CONSUMER_GROUP_HEARTBEAT, ApiKey.HEARTBEAT, ApiKey.JOIN_GROUP, client_id=NAME
    )

    assert consumer.claim([record]) == ([record], [])
    proxied_kafka.remove(no_answer)
    proxied_kafka.remove(no_heartbeat)
    send(b"two")

    assert fetch_one(consumer).value == b"two"
    assert "are claimed" in caplog.text
