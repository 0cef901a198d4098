"""Questions that only a group's coordinator answers (members, committed offsets), asked so that librdkafka survives an outage.

In librdkafka (2.16.0 and before) such a question of an AdminClient outlives its own time limit: it goes on looking for the
coordinator with memory that is freed already, and the process aborts when the broker comes back. So the client's own limit is an
hour here, the waiting is ours, and a client that owes an answer is let go, which ends the question in order. Where the fault is
stands in docs/decisions/0007-questions-to-a-coordinator.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaException

from .forks import AdminClient, let_go, new_admin

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
                let_go(client)
