"""A consumer in situations that a broker makes seldom."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError

from taskq_kafka.consumer import QueueConsumer
from taskq_kafka.records import Record
from tests.support.fake_consumer import FakeClients, FakeTime, fake_clients


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> FakeClients:
    return fake_clients(monkeypatch)


def fetch(consumer: QueueConsumer, tries: int = 5) -> list[Record]:
    """Fetch a few times, so that an assignment and what is between two records are passed."""
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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    return FakeTime(monkeypatch)


DENIED = KafkaError.TOPIC_AUTHORIZATION_FAILED


def claim_next(consumer: QueueConsumer) -> list[int]:
    """Fetch a record and claim it; return the offsets that may run."""
    if not consumer.assigned:
        consumer.fetch(1, 0)
    granted, _ = consumer.claim(consumer.fetch(1, 0))
    return [record.offset for record in granted]


def test_a_partition_whose_commit_failed_rests_and_goes_on_when_it_is_taken(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join(high=3)
    clients.last.commit_errors.append(DENIED)
    assert claim_next(consumer) == []

    assert fetch(consumer) == []
    clock.now += 2

    assert claim_next(consumer) == [0]
    assert claim_next(consumer) == [1]


def test_a_partition_whose_commits_keep_failing_is_tried_ever_more_seldom_and_said_once(
    clients: FakeClients, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=3)
    clients.last.commit_errors.extend([DENIED] * 1000)

    for _ in range(600):
        clock.now += 1
        assert claim_next(consumer) == []

    tries = clients.last.calls.count("commit")
    assert 10 <= tries <= 25
    assert [each.levelname for each in caplog.records].count("ERROR") == 1


def test_what_is_settled_on_a_partition_in_trouble_is_committed_in_the_end(
    clients: FakeClients, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=1)
    consumer.settle(fetch(consumer))
    clients.last.commit_errors.extend([DENIED] * 3)

    with caplog.at_level(logging.INFO):
        for _ in range(100):
            clock.now += 1
            consumer.fetch(1, 0)

    assert clients.last.stored.offset == 1
    assert clients.last.calls.count("commit") == 4
    assert events(caplog) == ["consumer.blocked", "consumer.recovered"]
    assert not clients.last.is_paused


def test_a_partition_in_trouble_stays_paused_with_its_consumer(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join(high=3)
    clients.last.commit_errors.append(DENIED)
    assert claim_next(consumer) == []
    consumer.pause()

    clock.now += 2

    assert fetch(consumer) == []
    assert clients.last.is_paused
    consumer.resume()
    assert claim_next(consumer) == [0]
