"""A consumer in situations that a broker makes seldom."""

from __future__ import annotations

import logging

import pytest

from taskq_kafka.consumer import QueueConsumer
from taskq_kafka.records import Record
from tests.support.fake_consumer import FakeClients, fake_clients


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> FakeClients:
    return fake_clients(monkeypatch)


def fetch(consumer: QueueConsumer, tries: int = 5) -> list[Record]:
    """Fetch a few times, so that what is between two records is passed."""
    return [record for _ in range(tries) for record in consumer.fetch(1, 0)]


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", "") for record in caplog.records]


def test_an_offset_that_was_beyond_the_end_and_is_not_any_more_is_read_on_at(
    clients: FakeClients, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=40, committed=50)
    # The broker lost records 40 to 49; others came before anybody looked.
    clients.last.before_watermarks = lambda: setattr(clients.last, "high", 53)

    records = fetch(consumer)

    assert [record.offset for record in records] == [50, 51, 52]
    assert "consumer.log_truncated" not in events(caplog)


def test_an_offset_at_the_start_of_the_log_is_read_on_at_and_nothing_counts_as_deleted(
    clients: FakeClients, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(low=7, high=9, committed=6)
    clients.last.before_watermarks = lambda: setattr(clients.last, "low", 6)

    with caplog.at_level(logging.WARNING):
        records = fetch(consumer)

    assert [record.offset for record in records] == [6, 7, 8]
    assert "consumer.records_deleted" not in events(caplog)


def test_an_offset_beyond_the_end_goes_on_at_the_end(
    clients: FakeClients, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=40, committed=50)
    fetch(consumer)
    clients.last.high = 42

    with caplog.at_level(logging.ERROR):
        records = fetch(consumer)

    assert [record.offset for record in records] == [40, 41]


def test_an_offset_below_the_start_goes_on_at_the_start(
    clients: FakeClients, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(low=7, high=9, committed=2)

    with caplog.at_level(logging.WARNING):
        records = fetch(consumer)

    assert [record.offset for record in records] == [7, 8]
    assert "consumer.records_deleted" in events(caplog)
