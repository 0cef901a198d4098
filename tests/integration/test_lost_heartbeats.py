"""What a group tells a member only once, in the answer to a heartbeat, and that answer is lost: on a real Kafka."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator

import pytest

from taskq_kafka.consumer import QueueConsumer
from taskq_kafka.groups import Groups, Place
from taskq_kafka.options import TransportOptions
from tests.support.faults import Stage
from tests.support.frames import ApiKey
from tests.support.kafka import Kafka
from tests.support.proxy import Proxy
from tests.support.waiting import Deadline

PATIENCE = 60.0


class Member:
    """A consumer that asks twice in a short time where it suspects something; else with all of its patience."""

    def __init__(self, bootstrap: str, queue: str, group: str, name: str) -> None:
        options = TransportOptions(
            bootstrap=bootstrap,
            group=group,
            group_protocol="consumer",
            heartbeat=0.5,
            client_id=name,
        )
        self.name = name
        self.consumer = QueueConsumer(
            options, queue, groups=Groups(options), tags=itertools.count(1)
        )
        self._groups = Groups(options)
        self._membership = self.consumer._membership
        self._membership.watchdog._confirm = 2.0
        self._first = self._membership.consumer

    @property
    def is_replaced(self) -> bool:
        return self._membership.consumer is not self._first

    @property
    def partitions(self) -> set[int]:
        return set(self.consumer.status().partitions)

    @property
    def place(self) -> Place:
        """What its group says of it."""
        found = self._groups.place(
            self._membership.consumer.memberid() or "", self._membership.topic
        )
        assert found is not None
        return found


def poll_until(condition: Callable[[], object], *members: Member) -> None:
    deadline = Deadline(PATIENCE)
    while not condition():
        assert not deadline.is_over
        for member in members:
            member.consumer.fetch(100, 0.05)


def await_answers(proxy: Proxy, count: int) -> None:
    """Block until the broker has answered heartbeats of who is behind the proxy, whether the answers are passed on or not."""
    proxy.wait_for(
        ApiKey.CONSUMER_GROUP_HEARTBEAT, stage=Stage.ANSWER, count=count, after=proxy.mark()
    )


@pytest.fixture
def join(kafka: Kafka, queue: str, group: str) -> Iterator[Callable[..., Member]]:
    kafka.create_topic(queue, partitions=2)
    members: list[Member] = []

    def join(name: str, bootstrap: str = kafka.bootstrap) -> Member:
        members.append(Member(bootstrap, queue, group, name))
        return members[-1]

    yield join
    for member in members:
        member.consumer.close()


def test_what_a_member_was_not_told_to_give_up_moves_on(
    join: Callable[..., Member], proxied_kafka: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    first = join("first", proxied_kafka.bootstrap)
    poll_until(lambda: first.partitions == {0, 1}, first)
    loss = proxied_kafka.drop_answers(ApiKey.CONSUMER_GROUP_HEARTBEAT, client_id="first")
    second = join("second")
    poll_until(lambda: len(first.place.wanted or ()) == 1, first, second)
    await_answers(proxied_kafka, 2)  # the first may have been asked for before
    proxied_kafka.remove(loss)

    poll_until(lambda: all(len(each.partitions) == 1 for each in (first, second)), first, second)

    assert first.is_replaced
    assert not second.is_replaced
    assert "the group wants back partitions of this member" in caplog.text


def test_a_member_that_lost_answers_and_missed_nothing_is_left_alone(
    join: Callable[..., Member], proxied_kafka: Proxy
) -> None:
    member = join("first", proxied_kafka.bootstrap)
    poll_until(lambda: member.partitions == {0, 1}, member)
    loss = proxied_kafka.drop_answers(ApiKey.CONSUMER_GROUP_HEARTBEAT, client_id="first")
    await_answers(proxied_kafka, 2)
    proxied_kafka.remove(loss)
    seen = proxied_kafka.mark()

    # Asked once, and once more if there were a suspicion.
    poll_until(lambda: proxied_kafka.seen(ApiKey.CONSUMER_GROUP_DESCRIBE, after=seen), member)
    deadline = Deadline(4)
    poll_until(lambda: deadline.is_over, member)

    assert not member.is_replaced
    assert member.partitions == {0, 1}
