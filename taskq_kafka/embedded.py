"""The embedded broker: librdkafka's mock cluster in this process, for development and fast tests.

It ships with the client, so there is nothing to install or start. Groups of both kinds, commits and transactions work, and other
processes can connect; topics appear by themselves with 4 partitions. It creates and deletes no topics, describes no group, fences
no zombie, and keeps 5 MB or 100,000 records a partition, in memory: what is promised about Kafka is not promised here.
"""

from __future__ import annotations

import logging
from typing import Final

from confluent_kafka import KafkaException

from . import forks
from .errors import map_error

START_TIMEOUT: Final = 10.0
"""Seconds. It answers after a few milliseconds; a loaded machine may need longer."""

_quiet = logging.getLogger("taskq_kafka.embedded")
_quiet.addFilter(lambda _: False)


class EmbeddedBroker:
    """A broker for as long as it is not closed. It lives in a client's own threads; any thread may call it."""

    def __init__(self) -> None:
        """Start it; blocks until it has an address.

        Raises:
            TaskqKafkaError: It did not start.
        """
        # It is a part of a producer that nobody produces with. Its lines in the log are about the mock cluster's own workings.
        self._producer: forks.Producer | None = forks.new_producer(
            {"test.mock.num.brokers": 1, "log_level": 0, "logger": _quiet}
        )
        try:
            brokers = self._producer.list_topics(timeout=START_TIMEOUT).brokers.values()
        except KafkaException as error:
            raise map_error(error, address="the embedded broker") from error
        self._address = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    @property
    def address(self) -> str:
        """Where clients of any process of this machine find it: `HOST:PORT`."""
        return self._address

    def close(self) -> None:
        """End it: what it held is gone, and clients find nobody there. Blocks for a moment; may be called twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close()
