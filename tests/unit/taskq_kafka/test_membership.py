"""A consumer that is replaced, and what it is replaced for."""

from __future__ import annotations

import logging
import threading

import pytest
from confluent_kafka import KafkaError, KafkaException

from taskq_kafka import lane
from taskq_kafka.consumer import QueueConsumer
from taskq_kafka.groups import Place
from tests.support.fake_consumer import FakeClient, FakeClients, FakeTime, fake_clients

OURS = Place(listed=True, given=frozenset({0}), is_settled=True)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> FakeClients:
    return fake_clients(monkeypatch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    return FakeTime(monkeypatch)


def poll(consumer: QueueConsumer, clock: FakeTime, seconds: float) -> list[int]:
    """Fetch every half second; return the offsets of what came."""
    offsets = []
    end = clock.now + seconds
    while clock.now < end:
        clock.now += 0.5
        offsets += [record.offset for record in consumer.fetch(10, 0)]
    return offsets


def test_a_consumer_whose_fetches_have_stalled_is_replaced_and_goes_on(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join(high=2)
    clients.groups.said = OURS
    assert poll(consumer, clock, 2) == [0, 1]
    clients.last.is_paused = True  # behind our back
    clients.template["high"] = clients.groups.told_ends[0] = 5

    offsets = poll(consumer, clock, 60)

    assert len(clients.made) == 2
    assert clients.made[0].is_closed
    assert offsets == [0, 1, 2, 3, 4]  # nothing was claimed


def test_a_consumer_that_its_group_does_not_list_is_replaced(
    clients: FakeClients, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join()
    clients.groups.said = Place(listed=False, given=frozenset(), is_settled=True)

    poll(consumer, clock, 60)

    assert len(clients.made) == 2
    assert "the group does not list this member" in caplog.text


def test_a_consumer_that_has_never_been_given_a_name_is_replaced(
    clients: FakeClients, clock: FakeTime
) -> None:
    clients.prepare = lambda client: setattr(client, "is_deaf", True)
    consumer = clients.join()
    clients.groups.said = Place(listed=False, given=frozenset(), is_settled=True)

    poll(consumer, clock, 60)

    assert len(clients.made) == 2


def test_a_busy_consumer_that_has_not_heard_what_its_group_wants_back_is_replaced(
    clients: FakeClients, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=100_000)
    clients.groups.said = Place(
        listed=True, given=frozenset({0}), is_settled=True, wanted=frozenset()
    )

    assert poll(consumer, clock, 60)
    assert len(clients.made) == 1
    assert poll(consumer, clock, 12)

    assert len(clients.made) == 2
    assert "the group wants back partitions of this member" in caplog.text


def test_a_client_whose_commit_never_returns_is_not_called_again(
    clients: FakeClients, clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "PATIENCE", 0.01)
    consumer = clients.join(high=1)
    [record] = [each for _ in range(3) for each in consumer.fetch(1, 0)]
    first = clients.last
    may_return = threading.Event()
    first.before_commit = may_return.wait
    clients.groups.has_forgotten_us = True

    consumer.settle([record])
    calls = len(first.calls)
    assert consumer.fetch(1, 0) == []  # commits, in vain
    assert first.calls[calls:] == ["commit"]
    again = [each.offset for _ in range(3) for each in consumer.fetch(1, 0)]

    assert again == [0]
    assert first.calls[calls:] == ["commit"]
    assert not first.is_closed
    may_return.set()


def test_a_paused_consumer_with_lag_is_left_alone(clients: FakeClients, clock: FakeTime) -> None:
    consumer = clients.join(high=5)
    clients.groups.said = OURS
    clients.groups.told_ends[0] = 5
    poll(consumer, clock, 0.5)
    consumer.pause()

    poll(consumer, clock, 300)

    assert clients.groups.questions > 5
    assert len(clients.made) == 1


def test_a_consumer_that_has_left_is_left_alone(clients: FakeClients, clock: FakeTime) -> None:
    consumer = clients.join(high=5)
    clients.groups.said = Place(listed=False, given=frozenset(), is_settled=True)
    poll(consumer, clock, 0.5)
    consumer.leave()

    poll(consumer, clock, 300)

    assert len(clients.made) == 1


def test_a_consumer_whose_broker_is_away_is_left_alone(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join()
    clients.groups.said = Place(listed=False, given=frozenset(), is_settled=True)
    clients.groups.told_ends[0] = 5
    clients.groups.is_answering = False

    poll(consumer, clock, 300)

    assert len(clients.made) == 1


def test_a_consumer_of_a_group_in_a_rebalance_is_left_alone(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join()
    clients.groups.said = Place(listed=False, given=frozenset(), is_settled=False)

    poll(consumer, clock, 300)

    assert len(clients.made) == 1


def test_a_consumer_with_a_blocked_partition_is_left_alone(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join(high=5)
    clients.groups.said = OURS
    clients.groups.told_ends[0] = 5
    poll(consumer, clock, 0.5)
    clients.last.commit_errors.extend([KafkaError.TOPIC_AUTHORIZATION_FAILED] * 10_000)

    for _ in range(600):
        clock.now += 0.5
        consumer.claim(consumer.fetch(1, 0))

    assert len(clients.made) == 1


def test_a_consumer_that_passes_its_partition_over_is_left_alone(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join(high=5)
    clients.groups.said = OURS
    clients.groups.told_ends[0] = 5
    poll(consumer, clock, 0.5)
    consumer.pass_over([0], "keys")

    poll(consumer, clock, 300)

    assert len(clients.made) == 1


def test_a_partition_that_is_blocked_and_passed_over_waits_for_the_end_of_both(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join(high=5)
    poll(consumer, clock, 0.5)
    membership = consumer._membership
    [owned] = membership.assignment

    membership.block(owned, 0)
    consumer.pass_over([0], "keys")
    membership.unblock(owned)
    assert clients.last.is_paused
    membership.block(owned, 0)
    consumer.pass_over([], "keys")
    assert clients.last.is_paused

    membership.unblock(owned)
    assert not clients.last.is_paused


def test_a_failure_that_stays_is_no_storm_of_joins(
    clients: FakeClients, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    def deny(client: FakeClient) -> None:
        client.committed_error = KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))

    clients.prepare = deny
    consumer = clients.join()

    poll(consumer, clock, 600)

    assert 5 < len(clients.made) < 20
    events = [getattr(record, "event", "") for record in caplog.records]
    assert events.count("consumer.replaced") == len(clients.made) - (not clients.last.is_closed)


def test_a_coordinator_that_is_slow_to_tell_offsets_costs_a_new_join_and_no_error(
    clients: FakeClients, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    def time_out_once(client: FakeClient) -> None:
        if not clients.made:
            client.committed_error = KafkaException(KafkaError(KafkaError._TIMED_OUT))

    clients.prepare = time_out_once
    consumer = clients.join(high=2)

    assert poll(consumer, clock, 10) == [0, 1]

    assert [record.levelname for record in caplog.records if record.levelno > 20] == ["WARNING"]
    assert "taking over partitions failed" in caplog.text


def test_a_consumer_that_waits_to_be_replaced_can_do_all_it_could_before(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join(high=3)
    membership = consumer._membership
    for _ in range(3):
        membership.replace_because = "the test says so"
        consumer.fetch(1, 0)
    assert clients.last.is_closed

    consumer.pause()
    consumer.resume()
    assert consumer.claim([]) == ([], [])
    assert consumer.status().member
    consumer.leave()
    assert not consumer.status().member
    consumer.rejoin()

    assert poll(consumer, clock, 10) == [0, 1, 2]
    consumer.close()


def test_a_consumer_that_left_while_it_waited_does_not_join_by_itself(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join(high=3)
    for _ in range(3):
        consumer._membership.replace_because = "the test says so"
        consumer.fetch(1, 0)
    consumer.leave()

    assert poll(consumer, clock, 10) == []
    assert "subscribe" not in clients.last.calls
    consumer.rejoin()

    assert poll(consumer, clock, 10) == [0, 1, 2]


def test_a_fetch_waits_no_longer_than_it_may_while_a_consumer_is_away(
    clients: FakeClients, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=3)
    for _ in range(5):
        consumer._membership.replace_because = "the test says so"
        consumer.fetch(1, 0)
    before = clock.now

    with caplog.at_level(logging.WARNING):
        assert consumer.fetch(1, 0.2) == []

    assert clock.now == pytest.approx(before + 0.2)
