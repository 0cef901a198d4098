"""Metadata where the broker that was asked first has died."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from taskq_kafka.errors import BrokerUnreachable
from taskq_kafka.options import TransportOptions
from taskq_kafka.questions import FIRST_TURN, Questions


class Client:
    """An AdminClient whose questions take all of their time, and fail for so long."""

    def __init__(self, *, fails_until: float) -> None:
        self.now = 0.0
        self.fails_until = fails_until
        self.asked: list[tuple[str, ...]] = []

    def list_topics(self, *topic: str, timeout: float) -> str:
        self.asked.append(topic)
        self.now += timeout
        if self.now < self.fails_until:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return "metadata"

    def poll(self, timeout: float) -> None:
        pass


def ask(client: Any) -> object:
    asked = Questions(TransportOptions())
    asked.client = client
    return asked.metadata("", 10)


def test_metadata_that_one_broker_does_not_tell_is_asked_of_another() -> None:
    client = Client(fails_until=FIRST_TURN + 1)

    assert ask(client) == "metadata"
    assert len(client.asked) == 2


def test_metadata_that_nobody_tells_is_waited_for_until_the_deadline() -> None:
    client = Client(fails_until=1000)

    with pytest.raises(BrokerUnreachable):
        ask(client)

    assert client.now == 10
