"""A worker that is up and has stopped consuming, on a real Kafka: it is found out and goes on; a healthy one is left alone."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from taskq_kafka.consumer import QueueConsumer
from taskq_kafka.groups import Groups
from taskq_kafka.options import TransportOptions
from taskq_kafka.records import Record
from taskq_kafka.watchdog import Watchdog
from tests.support.frames import ApiKey
from tests.support.kafka import Kafka
from tests.support.proxy import Proxy
from tests.support.waiting import Deadline

PATIENCE = 60.0
CONFIRM = 3.0
"""Seconds; a resumed fetch of a partition that was never read from takes one."""

LONG_CONFIRM = 10.0
"""The same where a consumer is to be left alone: as it is by default, for one that has to connect again first."""

LOOKS = 4
"""So often others are asked about a consumer that is to be left alone: a suspicion needs two."""


class CountingGroups(Groups):
    """Counts how often it is asked about a silent consumer."""

    looks = 0

    def answers(self) -> bool:
        self.looks += 1
        return super().answers()


class Member:
    """A consumer with a watchdog that loses its patience soon."""

    def __init__(
        self, bootstrap: str, queue: str, group: str, protocol: str, confirm: float
    ) -> None:
        options = TransportOptions(
            bootstrap=bootstrap, group=group, group_protocol=protocol, heartbeat=0.5
        )
        self.groups = CountingGroups(options)
        self.consumer = QueueConsumer(options, queue, groups=self.groups, tags=itertools.count(1))
        self._membership = self.consumer._membership
        self._membership.watchdog = Watchdog(patience=0.5, confirm=confirm)
        self._first = self._membership.consumer
        self.records: list[Record] = []

    @property
    def is_replaced(self) -> bool:
        return self._membership.consumer is not self._first

    def stall(self) -> None:
        """Have the client fetch nothing any more, and hear of it as little as of any other reason."""
        client = self._membership.consumer
        client.pause(client.assignment())


def poll_until(condition: Callable[[], object], *members: Member) -> None:
    deadline = Deadline(PATIENCE)
    while not condition():
        assert not deadline.is_over
        for member in members:
            member.records += member.consumer.fetch(100, 0.05)


@pytest.fixture(params=["consumer", "classic"])
def protocol(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture
def join(kafka: Kafka, queue: str, group: str, protocol: str) -> Iterator[Callable[..., Member]]:
    kafka.create_topic(queue, partitions=1)
    members: list[Member] = []

    def join(bootstrap: str = kafka.bootstrap, confirm: float = CONFIRM) -> Member:
        members.append(Member(bootstrap, queue, group, protocol, confirm))
        return members[-1]

    yield join
    for member in members:
        member.consumer.close()


@pytest.fixture
def send(kafka: Kafka, queue: str) -> Callable[[bytes], None]:
    def send(value: bytes) -> None:
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        producer.produce(queue, value)
        assert producer.flush(10) == 0

    return send


def test_a_consumer_that_fetches_nothing_although_records_wait_is_replaced_and_goes_on(
    join: Callable[..., Member], send: Callable[[bytes], None], caplog: pytest.LogCaptureFixture
) -> None:
    member = join()
    send(b"before")
    poll_until(lambda: member.records, member)
    member.consumer.claim(member.records)
    member.stall()

    send(b"after")
    poll_until(lambda: len(member.records) == 2, member)

    assert [record.value for record in member.records] == [b"before", b"after"]
    assert member.is_replaced
    assert "records wait on its partitions and none arrives (0)" in caplog.text
    assert member.consumer.claim(member.records[1:])[1] == []


def test_a_consumer_that_its_group_has_forgotten_is_replaced_and_goes_on(
    join: Callable[..., Member],
    send: Callable[[bytes], None],
    proxied_kafka: Proxy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    member = join(proxied_kafka.bootstrap)
    poll_until(lambda: member.consumer.status().partitions, member)
    # A classic member notices that its session is over and joins again, which without an answer takes it five minutes.
    heartbeats = proxied_kafka.drop_requests(
        ApiKey.HEARTBEAT, ApiKey.CONSUMER_GROUP_HEARTBEAT, ApiKey.JOIN_GROUP
    )

    poll_until(lambda: "consumer.replaced" in events(caplog), member)
    proxied_kafka.remove(heartbeats)
    proxied_kafka.cut()  # what waits for an answer that was dropped
    send(b"after")
    poll_until(lambda: member.records, member)

    assert "the group does not list this member" in caplog.text
    assert member.consumer.claim(member.records)[1] == []


def test_idle_paused_and_superfluous_consumers_are_left_alone(
    join: Callable[..., Member], send: Callable[[bytes], None], caplog: pytest.LogCaptureFixture
) -> None:
    first = join(confirm=LONG_CONFIRM)
    poll_until(lambda: first.consumer.status().partitions, first)
    second = join(confirm=LONG_CONFIRM)
    poll_until(lambda: min(first.groups.looks, second.groups.looks) >= LOOKS, first, second)
    owner = first if first.consumer.status().partitions else second
    owner.consumer.pause()
    send(b"waits")
    looks = owner.groups.looks

    poll_until(lambda: owner.groups.looks >= looks + LOOKS, first, second)
    assert not owner.records
    owner.consumer.resume()
    poll_until(lambda: owner.records, first, second)

    assert not first.is_replaced
    assert not second.is_replaced
    assert "consumer.replaced" not in events(caplog)


def test_a_consumer_that_waits_for_its_broker_is_left_alone(
    join: Callable[..., Member], send: Callable[[bytes], None], proxied_kafka: Proxy
) -> None:
    member = join(proxied_kafka.bootstrap, LONG_CONFIRM)
    poll_until(lambda: member.consumer.status().partitions, member)
    send(b"waits")
    proxied_kafka.refuse()
    proxied_kafka.cut()
    looks = member.groups.looks

    poll_until(lambda: member.groups.looks > looks, member)
    proxied_kafka.pass_everything()
    poll_until(lambda: member.records, member)

    assert not member.is_replaced


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", "") for record in caplog.records]


@pytest.fixture(autouse=True)
def warnings_are_caught(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
