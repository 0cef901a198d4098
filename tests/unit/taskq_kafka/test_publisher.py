"""Which client a send goes through."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from taskq_kafka import producer as module
from taskq_kafka.options import TransportOptions
from taskq_kafka.publisher import BULK, Publisher
from taskq_kafka.sending import Message


class FakeProducer:
    """Acknowledges what it was given at the next poll, and counts it."""

    def __init__(self, linger_ms: str) -> None:
        self.linger_ms = linger_ms
        self.calls: Counter[str] = Counter()
        self.reports: list[Any] = []

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.calls["list_topics"] += 1
        found = SimpleNamespace(error=None, partitions={0: SimpleNamespace(leader=1)})
        return SimpleNamespace(topics={topic: found})

    def produce(self, *record: Any, on_delivery: Any, headers: Any) -> None:
        self.calls["produce"] += 1
        self.reports.append(on_delivery)

    def poll(self, timeout: float) -> int:
        reports, self.reports = self.reports, []
        for report in reports:
            report(None, None)
        return len(reports)

    def flush(self, timeout: float) -> None:
        self.calls["flush"] += 1


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[FakeProducer]:
    """The clients that were made, in order."""
    made: list[FakeProducer] = []

    def new_producer(config: dict[str, Any]) -> FakeProducer:
        made.append(FakeProducer(config["linger.ms"]))
        return made[-1]

    monkeypatch.setattr(module, "new_producer", new_producer)
    return made


def send(publisher: Publisher, count: int, queue: str = "q") -> None:
    assert publisher.publish([Message(queue, b"1")] * count, timeout=5) == [None] * count


def test_few_records_go_out_at_once(clients: list[FakeProducer]) -> None:
    send(Publisher(TransportOptions()), BULK - 1)

    assert [client.linger_ms for client in clients] == ["0"]


def test_many_records_are_collected_by_a_client_of_their_own(clients: list[FakeProducer]) -> None:
    publisher = Publisher(TransportOptions())

    for count in (1, BULK, 1, BULK):
        send(publisher, count)

    one, bulk = clients
    assert (one.linger_ms, one.calls["produce"]) == ("0", 2)
    assert (bulk.linger_ms, bulk.calls["produce"]) == ("1", 2 * BULK)


def test_each_client_looks_each_topic_up_once_and_asks_twice_with_the_first(
    clients: list[FakeProducer],
) -> None:
    publisher = Publisher(TransportOptions())

    for queue in ("q", "other"):
        for count in (1, BULK, 1, BULK):
            send(publisher, count, queue)

    # The first answer may be of a connection that the client leaves then; the second is of one that it keeps.
    assert [client.calls["list_topics"] for client in clients] == [3, 3]


def test_closing_waits_for_both(clients: list[FakeProducer]) -> None:
    publisher = Publisher(TransportOptions())
    for count in (1, BULK):
        send(publisher, count)

    publisher.close(timeout=1)

    assert [client.calls["flush"] for client in clients] == [1, 1]
