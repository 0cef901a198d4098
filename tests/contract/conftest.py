"""The broker of the contract suite: each test runs on every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq.memory import forget_cluster
from tests.support.brokers import KINDS, Broker
from tests.support.kafka import Kafka
from tests.support.mock_cluster import MockCluster


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, group: str) -> Iterator[Broker]:
    """A broker of each kind, with a group of the test's own."""
    kind: str = request.param
    address = "contract"
    if kind == "mock":
        mock: MockCluster = request.getfixturevalue("mock_cluster")
        address = mock.bootstrap
    elif kind == "kafka":
        kafka: Kafka = request.getfixturevalue("kafka")
        address = kafka.bootstrap
    broker = Broker(kind, address, group)
    yield broker
    broker.close()
    forget_cluster(address)
