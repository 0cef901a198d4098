"""What a client that dies in the middle of a send costs, and whom."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from taskq_kafka import producer as module
from taskq_kafka.errors import DeliveryFailed
from taskq_kafka.options import TransportOptions
from taskq_kafka.producer import Route, SharedProducer
from taskq_kafka.sending import Message
from tests.support.waiting import wait_until


class FakeProducer:
    """Takes records, and acknowledges them at the next poll unless it was purged, or died, before."""

    def __init__(self, *, dies_at: bytes | None = None) -> None:
        self.dies_at = dies_at
        self.purged = False
        self.waiting: deque[tuple[bytes, Callable[..., None]]] = deque()

    def __len__(self) -> int:
        return len(self.waiting)

    def list_topics(self, topic: str, timeout: float) -> Any:
        partition = SimpleNamespace(leader=1)
        found = SimpleNamespace(error=None, partitions={0: partition})
        return SimpleNamespace(topics={topic: found})

    def produce(
        self,
        topic: str,
        value: bytes,
        key: Any,
        partition: int = -1,
        *,
        on_delivery: Any,
        headers: Any,
    ) -> None:
        if value == self.dies_at:
            raise KafkaException(KafkaError(KafkaError._FATAL, "out of order", fatal=True))
        self.waiting.append((value, on_delivery))

    def purge(self) -> None:
        self.purged = True

    def poll(self, timeout: float) -> int:
        count = len(self.waiting)
        while self.waiting:
            value, report = self.waiting.popleft()
            report(KafkaError(KafkaError._PURGE_QUEUE) if self.purged else None, value)
        return count


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[FakeProducer]:
    """The clients that will be made, in order."""
    clients = [FakeProducer(dies_at=b"3"), FakeProducer(), FakeProducer()]
    left = iter(clients)
    monkeypatch.setattr(module, "new_producer", lambda config: next(left))
    return clients


def send(producer: SharedProducer, *values: bytes) -> list[Any]:
    route = Route(lambda queue: queue, None)
    return producer.send([Message("q", value) for value in values], route, timeout=5)


def current(producer: SharedProducer) -> Any:
    """Return the client that takes records now."""
    return producer._current().producer


def test_a_client_that_dies_within_a_send_fails_what_it_had_and_the_rest_goes_on(
    clients: list[FakeProducer],
) -> None:
    producer = SharedProducer(TransportOptions().producer_config)

    errors = send(producer, b"1", b"2", b"3", b"4")

    assert [type(error) for error in errors] == [
        DeliveryFailed,
        DeliveryFailed,
        type(None),
        type(None),
    ]
    assert clients[0].purged


def test_what_a_dead_client_had_does_not_condemn_its_successor(
    clients: list[FakeProducer],
) -> None:
    producer = SharedProducer(TransportOptions().producer_config)

    send(producer, b"1", b"2", b"3", b"4")

    assert not clients[1].purged
    assert send(producer, b"5") == [None]
    assert current(producer) is clients[1]


def test_a_client_of_which_a_report_says_that_it_died_is_replaced(
    clients: list[FakeProducer],
) -> None:
    producer = SharedProducer(TransportOptions().producer_config)
    clients[0].purged = True

    (error,) = send(producer, b"1")

    assert isinstance(error, DeliveryFailed)
    assert current(producer) is clients[1]


class SlowProducer(FakeProducer):
    """Reports only what it is told to, in one poll; a poll with nothing to report waits for that."""

    def __init__(self) -> None:
        super().__init__()
        self.told: deque[set[bytes]] = deque()
        self.news = threading.Semaphore(0)
        self.taken = threading.Semaphore(0)

    def produce(
        self,
        topic: str,
        value: bytes,
        key: Any,
        partition: int = -1,
        *,
        on_delivery: Any,
        headers: Any,
    ) -> None:
        super().produce(topic, value, key, on_delivery=on_delivery, headers=headers)
        self.taken.release()

    def acknowledge(self, *values: bytes) -> None:
        self.told.append(set(values))
        self.news.release()

    def poll(self, timeout: float) -> int:
        if not self.news.acquire(timeout=timeout):
            return 0
        values = self.told.popleft()
        for value, report in [each for each in self.waiting if each[0] in values]:
            self.waiting.remove((value, report))
            report(None, value)
        return len(values)


def stand(handle: Any, line: int) -> bool:
    """Whether one serves, and so many wait."""
    return handle._serving.locked() and len(handle._waiting) == line


def test_who_serves_hands_on_to_one_that_still_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SlowProducer()
    monkeypatch.setattr(module, "new_producer", lambda config: client)
    monkeypatch.setattr(module, "WAIT", 60.0)  # nobody finds out by themselves
    producer = SharedProducer(TransportOptions().producer_config)
    handle = producer._current()
    with ThreadPoolExecutor(3) as pool:
        sent = []
        for line, value in enumerate((b"serves", b"complete", b"waits")):
            sent.append(pool.submit(send, producer, value))
            assert client.taken.acquire(timeout=10)
            wait_until(partial(stand, handle, line), timeout=10, what="the line of those who wait")

        client.acknowledge(b"serves", b"complete")
        client.acknowledge(b"waits")

        assert [each.result(timeout=4) for each in sent] == [[None]] * 3
