"""The proxy goes wrong in exactly the chosen way, in front of a real broker with a real client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.support.brokersettings import LINKS
from tests.support.cluster import KafkaCluster
from tests.support.faults import Stage
from tests.support.frames import ApiKey, read_request
from tests.support.kafka import QUIET, Kafka, admin, known_brokers
from tests.support.proxy import Proxy
from tests.support.waiting import Stopwatch

COMMIT = ApiKey.OFFSET_COMMIT
SOCKET_TIMEOUT = 30.0
"""Seconds after which the client gives up a request that nobody answers: longer than a test takes to look round meanwhile."""

SHORT_SOCKET_TIMEOUT = 5.0
"""The same where the test has to wait for it."""


class Member:
    """A group's only member, which commits partition 0 of a topic in a thread of its own."""

    def __init__(self, bootstrap: str, topic: str, group: str, socket_timeout: float) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "client.id": "member",
                "reconnect.backoff.ms": 10,
                "reconnect.backoff.max.ms": 50,
                "socket.timeout.ms": int(socket_timeout * 1000),
                "logger": QUIET,
            }
        )
        self._topic = topic
        self._thread = ThreadPoolExecutor(1)
        # a coordinator must be known and made before what is measured
        self.commit(1).result(30)

    def commit(self, offset: int) -> Future[object]:
        """Begin to commit an offset; the result is the broker's answer."""
        offsets = [TopicPartition(self._topic, 0, offset)]
        return self._thread.submit(
            lambda: self._consumer.commit(offsets=offsets, asynchronous=False)
        )

    def committed(self, bootstrap: str, group: str) -> int:
        """Ask past the proxy which offset is committed."""
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "logger": QUIET})
        (found,) = consumer.committed([TopicPartition(self._topic, 0)], timeout=10)
        consumer.close()
        return int(found.offset)

    def close(self) -> None:
        """End thread and consumer."""
        self._thread.shutdown()
        self._consumer.close()


@pytest.fixture
def member(kafka: Kafka, proxied_kafka: Proxy, topic: str, group: str) -> Iterator[Member]:
    """A member behind the proxy."""
    kafka.create_topic(topic, partitions=1)
    member = Member(proxied_kafka.bootstrap, topic, group, SOCKET_TIMEOUT)
    yield member
    proxied_kafka.pass_everything()
    member.close()


@pytest.fixture
def hasty_member(kafka: Kafka, proxied_kafka: Proxy, topic: str, group: str) -> Iterator[Member]:
    """A member behind the proxy that soon gives up what is not answered."""
    kafka.create_topic(topic, partitions=1)
    member = Member(proxied_kafka.bootstrap, topic, group, SHORT_SOCKET_TIMEOUT)
    yield member
    proxied_kafka.pass_everything()
    member.close()


def test_clients_stay_behind_the_proxy(kafka: Kafka, proxied_kafka: Proxy) -> None:
    brokers = admin(proxied_kafka.bootstrap).list_topics(timeout=10).brokers.values()

    assert [f"{broker.host}:{broker.port}" for broker in brokers] == [proxied_kafka.bootstrap]
    assert proxied_kafka.bootstrap != kafka.bootstrap
    assert proxied_kafka.seen(ApiKey.METADATA)


def test_request_is_seen_with_its_client(proxied_kafka: Proxy, member: Member) -> None:
    mark = proxied_kafka.mark()

    member.commit(2).result(10)

    sighting = proxied_kafka.wait_for(COMMIT, after=mark)
    assert sighting.request.client_id == "member"
    answer = proxied_kafka.wait_for(COMMIT, stage=Stage.PASSED, after=sighting.number)
    assert answer.request == sighting.request


def test_held_answer_comes_later(proxied_kafka: Proxy, member: Member) -> None:
    watch = Stopwatch()

    with proxied_kafka.hold_answers(COMMIT, seconds=0.5):
        member.commit(2).result(10)

    assert watch.seconds >= 0.5


def test_answer_is_held_until_the_rule_is_removed(
    kafka: Kafka, proxied_kafka: Proxy, member: Member, group: str
) -> None:
    mark = proxied_kafka.mark()
    rule = proxied_kafka.hold_answers(COMMIT)

    answer = member.commit(2)
    proxied_kafka.wait_for(COMMIT, stage=Stage.ANSWER, after=mark)
    assert not answer.done()
    assert member.committed(kafka.bootstrap, group) == 2
    rule.remove()

    answer.result(10)


def test_held_request_reaches_the_broker_when_the_rule_is_removed(
    kafka: Kafka, proxied_kafka: Proxy, member: Member, group: str
) -> None:
    mark = proxied_kafka.mark()
    rule = proxied_kafka.hold_requests(COMMIT)

    answer = member.commit(2)
    proxied_kafka.wait_for(COMMIT, after=mark)
    assert member.committed(kafka.bootstrap, group) == 1
    rule.remove()

    answer.result(10)
    assert member.committed(kafka.bootstrap, group) == 2


def test_rule_of_another_client_does_not_concern_this_one(
    proxied_kafka: Proxy, member: Member
) -> None:
    with proxied_kafka.hold_answers(COMMIT, client_id="somebody else"):
        member.commit(2).result(10)


def test_dropped_answer_leaves_the_commit_in_force(
    kafka: Kafka, proxied_kafka: Proxy, hasty_member: Member, group: str
) -> None:
    proxied_kafka.drop_answers(COMMIT)
    mark = proxied_kafka.mark()

    answer = hasty_member.commit(2)
    dropped = proxied_kafka.wait_for(COMMIT, stage=Stage.ANSWER, after=mark)

    assert hasty_member.committed(kafka.bootstrap, group) == 2
    assert not answer.done()
    proxied_kafka.pass_everything()
    assert answer.exception(30) is None or isinstance(answer.exception(), KafkaException)
    passed = proxied_kafka.seen(COMMIT, stage=Stage.PASSED, after=mark)
    assert dropped.request not in [sighting.request for sighting in passed]


def test_cut_at_the_answer_ends_that_connection(
    kafka: Kafka, proxied_kafka: Proxy, member: Member, group: str
) -> None:
    mark = proxied_kafka.mark()
    proxied_kafka.cut_at_answer(COMMIT, count=1)

    answer = member.commit(2)

    unanswered = proxied_kafka.wait_for(COMMIT, stage=Stage.ANSWER, after=mark)
    assert answer.exception(30) is None or isinstance(answer.exception(), KafkaException)
    assert member.committed(kafka.bootstrap, group) == 2
    member.commit(3).result(10)
    # After that answer: the one before it is seen passed on a moment later than the member has it.
    answered = proxied_kafka.wait_for(COMMIT, stage=Stage.PASSED, after=unanswered.number)
    assert answered.connection != unanswered.connection


def test_dropped_request_never_reaches_the_broker(
    kafka: Kafka, proxied_kafka: Proxy, hasty_member: Member, group: str
) -> None:
    mark = proxied_kafka.mark()
    rule = proxied_kafka.drop_requests(COMMIT)

    answer = hasty_member.commit(2)
    proxied_kafka.wait_for(COMMIT, after=mark)

    assert hasty_member.committed(kafka.bootstrap, group) == 1
    assert not answer.done()
    rule.remove()
    answer.exception(30)


def test_count_ends_a_rule(proxied_kafka: Proxy, member: Member) -> None:
    mark = proxied_kafka.mark()
    proxied_kafka.hold_answers(COMMIT, seconds=0.3, count=1)

    member.commit(2).result(10)
    member.commit(3).result(10)

    assert len(proxied_kafka.seen(COMMIT, after=mark)) == 2


def test_stalled_proxy_passes_nothing_and_then_everything(
    proxied_kafka: Proxy, member: Member
) -> None:
    proxied_kafka.stall()
    answer = member.commit(2)
    mark = proxied_kafka.mark()
    assert known_brokers(proxied_kafka.bootstrap, timeout=0.5) == 0
    assert not answer.done()
    assert not proxied_kafka.seen(stage=Stage.PASSED, after=mark)

    proxied_kafka.pass_everything()

    answer.result(10)


def test_refused_connection_is_refused_until_everything_passes(proxied_kafka: Proxy) -> None:
    proxied_kafka.refuse()
    proxied_kafka.cut()
    assert known_brokers(proxied_kafka.bootstrap, timeout=0.5) == 0

    proxied_kafka.pass_everything()

    assert known_brokers(proxied_kafka.bootstrap, timeout=10) == 1


def test_cut_connection_comes_back(proxied_kafka: Proxy, member: Member) -> None:
    proxied_kafka.cut()

    member.commit(2).result(20)


def test_waiting_for_what_does_not_come_ends(proxied_kafka: Proxy) -> None:
    with pytest.raises(TimeoutError, match=r"waited 0\.05 s"):
        proxied_kafka.wait_for(ApiKey.LEAVE_GROUP, timeout=0.05)


def test_proxy_in_front_of_a_stopped_broker_cuts(own_kafka: Kafka) -> None:
    with own_kafka.behind_proxy() as proxy:
        own_kafka.kill()
        assert known_brokers(proxy.bootstrap, timeout=0.5) == 0

        own_kafka.start()

        assert known_brokers(proxy.bootstrap, timeout=10) == 1


def test_one_proxy_stands_before_all_nodes(cluster: KafkaCluster) -> None:
    with cluster.behind_proxy() as proxy:
        brokers = admin(proxy.bootstrap).list_topics(timeout=10).brokers.values()

        addresses = {f"{broker.host}:{broker.port}" for broker in brokers}

    assert addresses == set(proxy.bootstrap.split(","))


def test_stalled_link_leaves_the_others_open(linked_kafka: Kafka) -> None:
    with linked_kafka.behind_proxies() as (stalled, *others):
        stalled.stall()

        reached = [known_brokers(other.bootstrap, timeout=10) for other in others]

        assert reached == [1] * (LINKS - 1)
        assert known_brokers(stalled.bootstrap, timeout=0.5) == 0


def test_proxy_leaves_no_thread_behind(kafka: Kafka) -> None:
    before = threading.active_count()

    with kafka.behind_proxy() as proxy:
        known_brokers(proxy.bootstrap, timeout=10)

    assert threading.active_count() <= before


def test_header_of_a_request_without_client_id_is_read() -> None:
    frame = bytes.fromhex("0008 0009 0000002a ffff 00")

    request = read_request(frame)

    assert (request.api_key, request.api_version) == (8, 9)
    assert (request.correlation_id, request.client_id) == (42, "")
