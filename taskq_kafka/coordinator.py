"""Questions that only a group's coordinator answers (members, committed offsets), asked so that librdkafka survives them.

In librdkafka (2.16.0 and before) such a question of an AdminClient outlives its own time limit: it goes on looking for the
coordinator with memory that is freed already, and the process aborts when the broker comes back
(`rd_kafka_enq_once_del_source_return: Assertion eonce->refcnt > 0`). So the client's own limit is an hour here, the waiting is
ours, and a client that owes an answer is let go: closing it ends the question in order.

And for committed offsets an AdminClient must not be asked at all: when a coordinator answers that it is not (or not yet) the right
one, which a new or moving one does, librdkafka reaches for the group of its Consumer, and an AdminClient has none. The process is
gone. So a Consumer is asked, which never joins. Both are in docs/decisions/0007-questions-to-a-coordinator.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaException, TopicPartition

from .forks import AdminClient, Consumer, new_admin, new_consumer
from .options import TransportOptions

T = TypeVar("T")

REQUEST_SECONDS: Final = 3600.0
"""The longest limit that librdkafka takes. None of its questions lives so long: its client is let go before."""

Question = Callable[[AdminClient, float], "Future[T]"]
"""Asks a client, with its own time limit in seconds, and returns what will hold the answer."""


class CoordinatorClient:
    """An AdminClient for such questions, replaced after each that got no answer. Any thread may ask."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Build the client; nothing is connected yet.

        Args:
            config: librdkafka's configuration of an AdminClient.
        """
        self._config = config
        self._lock = threading.Lock()
        self._client = new_admin(config)

    def ask(self, question: Question[T], *, timeout: float) -> T:
        """Return the answer to a question; blocks for at most `timeout` seconds.

        Raises:
            KafkaException: The coordinator refused, or there is none.
            concurrent.futures.TimeoutError: No answer in time.
        """
        client = self._client
        try:
            return question(client, REQUEST_SECONDS).result(timeout)
        except FutureTimeoutError:
            client.poll(0)  # so that `error_cb` hears why
            self._replace(client)
            raise
        except KafkaException:
            client.poll(0)
            raise

    def _replace(self, client: AdminClient) -> None:
        with self._lock:
            if self._client is client:
                self._client = new_admin(self._config)


class CommittedOffsets:
    """What groups have committed, read by a Consumer that never joins. Any thread may ask; one question runs at a time."""

    def __init__(self, options: TransportOptions) -> None:
        """Prepare; a client is made for the first question about a group, and kept until another group is asked about."""
        self._options = options
        self._lock = threading.Lock()
        self._group = ""
        self._consumer: Consumer | None = None

    def of(
        self, group: str, places: list[TopicPartition], *, timeout: float
    ) -> list[TopicPartition]:
        """Return partitions with offset (below zero for none) and metadata; blocks for at most `timeout` seconds.

        Whoever may not describe the group only learns that there was no answer: ask for that right before.

        Raises:
            KafkaException: No answer in time, or it was an error.
        """
        with self._lock:
            if self._consumer is None or group != self._group:
                if self._consumer is not None:
                    self._consumer.close()
                self._consumer = new_consumer({**self._options.reader_config(), "group.id": group})
                self._group = group
            return self._consumer.committed(places, timeout=timeout)
