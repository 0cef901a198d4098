"""Questions to a real broker: who answers, what is made with which settings, how queues stand."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType

from taskq_kafka.admin import Admin
from taskq_kafka.errors import (
    AuthenticationFailed,
    BrokerUnreachable,
    ConfigInvalid,
    TopicInvalid,
)
from taskq_kafka.options import TransportOptions
from taskq_kafka.publisher import Publisher, get_publisher
from taskq_kafka.refusal import is_refused
from taskq_kafka.sending import Message
from tests.support.cluster import KafkaCluster
from tests.support.kafka import Kafka
from tests.support.mock_cluster import MockCluster
from tests.support.ports import reserve_port
from tests.support.waiting import wait_until


@pytest.fixture
def options(kafka: Kafka) -> TransportOptions:
    return TransportOptions(bootstrap=kafka.bootstrap)


@pytest.fixture
def admin(options: TransportOptions) -> Admin:
    return Admin.shared(options)


@pytest.fixture
def publisher(options: TransportOptions) -> Publisher:
    return get_publisher(options)


def settings(admin: Admin, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    (answer,) = admin._client.describe_configs([resource]).values()
    return {name: entry.value for name, entry in answer.result(10).items()}


def refusal(admin: Admin, why: str) -> BrokerUnreachable:
    """Check until the error says why, which a slow machine knows late; return it."""

    def look() -> BrokerUnreachable | None:
        with pytest.raises(BrokerUnreachable) as raised:
            admin.check(timeout=1)
        return raised.value if why in str(raised.value) else None

    found = wait_until(look, timeout=30, what=f"{why!r}")
    assert found is not None
    return found


def test_check_passes_when_a_broker_answers(admin: Admin) -> None:
    admin.check(timeout=30)


def test_check_names_address_and_reason_when_nobody_listens() -> None:
    port = reserve_port()

    error = refusal(Admin(TransportOptions(bootstrap=f"127.0.0.1:{port.number}")), "refused")

    port.release()
    assert error.address == f"127.0.0.1:{port.number}"


def test_check_waits_no_longer_than_is_wanted_where_every_address_refuses() -> None:
    port = reserve_port()
    address = f"127.0.0.1:{port.number}"

    with pytest.raises(BrokerUnreachable, match="refused"):
        Admin(TransportOptions(bootstrap=f"{address},{address}")).check(
            timeout=600, refused_after=0.1
        )

    port.release()


def test_addresses_are_refused_only_where_nobody_listens_at_any() -> None:
    port = reserve_port()
    nobody = f"127.0.0.1:{port.number}"

    with socket.create_server(("127.0.0.1", 0)) as server:
        somebody = f"127.0.0.1:{server.getsockname()[1]}"

        assert is_refused(nobody)
        assert is_refused(f"{nobody}, {nobody}")
        assert not is_refused(f"{nobody},{somebody}")
        assert not is_refused(f"{nobody},nobody.invalid:9092")
        assert not is_refused(f"{nobody},host:port")
    port.release()


def test_check_names_a_host_that_does_not_exist() -> None:
    error = refusal(Admin(TransportOptions(bootstrap="nobody.invalid:9092")), "resolve")

    assert "nobody.invalid:9092" in str(error)


def test_tls_to_a_plain_broker_is_told_apart_from_an_absent_one(
    options: TransportOptions,
) -> None:

    with pytest.raises(AuthenticationFailed, match="SSL"):
        Admin(replace(options, tls=True)).check(timeout=10)


def test_refused_login_ends_the_check_at_once(options: TransportOptions) -> None:

    with pytest.raises(AuthenticationFailed, match="SASL"):
        Admin(replace(options, user="u", password="secret")).check(timeout=10)


def test_absent_broker_is_logged_once_and_not_with_every_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = reserve_port()

    with pytest.raises(BrokerUnreachable):
        Admin(TransportOptions(bootstrap=f"127.0.0.1:{port.number}")).check(timeout=2)

    port.release()
    assert len(caplog.records) == 1


def test_unknown_librdkafka_option_is_named_with_the_nearest(options: TransportOptions) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        Admin(replace(options, kafka={"scoket.timeout.ms": "100"}))

    assert raised.value.option == "scoket.timeout.ms"
    assert raised.value.near == "socket.timeout.ms"


def test_queue_is_made_with_its_settings(admin: Admin, queue: str) -> None:
    admin.create_queue(queue, timeout=10)

    made = settings(admin, queue)
    assert made["retention.ms"] == "-1"
    assert made["cleanup.policy"] == "delete"
    assert made["min.insync.replicas"] == "1"
    assert queue in admin.queues(timeout=10)


def test_queue_that_exists_is_used_as_it_is(kafka: Kafka, admin: Admin, queue: str) -> None:
    kafka.create_topic(queue, partitions=3, config={"retention.ms": "1000"})

    admin.create_queue(queue, timeout=10)

    assert settings(admin, queue)["retention.ms"] == "1000"
    assert admin.queue_status([queue], group="g", timeout=10)[0].partitions == 3


def test_impossible_name_is_refused_before_anything_is_asked(admin: Admin) -> None:
    with pytest.raises(TopicInvalid):
        admin.create_queue("no spaces", timeout=10)


def test_prefix_hides_other_names(options: TransportOptions, admin: Admin, queue: str) -> None:
    prefixed = Admin(replace(options, prefix=f"{queue}-"))

    prefixed.create_queue("billing", timeout=10)
    prefixed.create_dead_letter_topic("billing", timeout=10)

    assert prefixed.queues(timeout=10) == ["billing"]
    assert prefixed.dead_letter_queues(timeout=10) == ["billing"]
    assert f"{queue}-billing" in admin.queues(timeout=10)


def test_replicated_cluster_gets_all_but_one_in_sync(cluster: KafkaCluster, queue: str) -> None:
    admin = Admin(TransportOptions(bootstrap=cluster.bootstrap))

    admin.create_queue(queue, timeout=20)

    replicas = int(settings_of_cluster(admin)["default.replication.factor"])
    assert settings(admin, queue)["min.insync.replicas"] == str(max(1, replicas - 1))


def settings_of_cluster(admin: Admin) -> dict[str, str]:
    broker = str(next(iter(admin._client.list_topics(timeout=10).brokers)))
    (answer,) = admin._client.describe_configs(
        [ConfigResource(ResourceType.BROKER, broker)]
    ).values()
    return {name: entry.value for name, entry in answer.result(10).items()}


@pytest.fixture(params=["consumer", "classic"])
def member(
    request: pytest.FixtureRequest, kafka: Kafka, group: str, queue: str, admin: Admin
) -> Iterator[Consumer]:
    admin.create_queue(queue, timeout=10)
    options = TransportOptions(bootstrap=kafka.bootstrap)
    consumer = Consumer(options.consumer_config(group, request.param))
    assigned: list[object] = []
    consumer.subscribe([queue], on_assign=lambda _, partitions: assigned.extend(partitions))
    wait_until(lambda: consumer.poll(0.1) is None and assigned, timeout=20, what="an assignment")
    yield consumer
    consumer.close()


def test_status_counts_the_members_that_hold_partitions(
    member: Consumer, admin: Admin, group: str, queue: str
) -> None:
    (status,) = admin.queue_status([queue], group=group, timeout=10)

    assert (status.workers, status.lag, status.oldest_age) == (1, 0, None)


def test_status_counts_what_the_group_has_not_committed(
    publisher: Publisher, kafka: Kafka, admin: Admin, group: str, queue: str
) -> None:
    publisher.publish([Message(queue, b"%d" % n, key=b"k") for n in range(10)], timeout=10)
    messages = admin._reader.read_all(queue, range(12), timeout=10)
    partition = messages[0].partition()
    assert partition is not None
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    consumer.commit(offsets=[TopicPartition(queue, partition, 4)], asynchronous=False)

    (status,) = admin.queue_status([queue], group=group, timeout=10)

    consumer.close()
    assert status.lag == 6
    assert status.oldest_age is not None
    assert -5 < status.oldest_age < 60


def test_age_is_that_of_the_oldest_waiting_record(
    options: TransportOptions, publisher: Publisher, queue: str
) -> None:
    publisher.publish([Message(queue, b"%d" % n) for n in range(50)], timeout=10)
    oldest_ms = min(
        message.timestamp()[1]
        for message in Admin.shared(options)._reader.read_all(queue, range(12), timeout=10)
    )
    later = Admin(options, now=lambda: oldest_ms / 1000 + 100)

    (status,) = later.queue_status([queue], group="nobody", timeout=10)

    assert status.lag == 50
    assert status.oldest_age == pytest.approx(100)


def test_status_leaves_out_what_does_not_exist(admin: Admin, queue: str) -> None:
    assert admin.queue_status([queue], group="g", timeout=10) == []


def test_status_of_many_queues_is_told_in_one_call(
    publisher: Publisher, admin: Admin, queue: str
) -> None:
    queues = [f"{queue}-{number}" for number in range(5)]
    publisher.publish([Message(each, b"[]") for each in queues for _ in range(20)], timeout=20)
    admin.queue_status(queues[:1], group="g", timeout=10)

    status = admin.queue_status(queues, group="g", timeout=10)

    assert [each.lag for each in status] == [20] * 5


def test_purge_leaves_nothing_waiting(
    publisher: Publisher, admin: Admin, group: str, queue: str
) -> None:
    publisher.publish([Message(queue, b"[]")] * 30, timeout=10)

    assert admin.purge(queue, group=group, timeout=10) == 30

    (status,) = admin.queue_status([queue], group=group, timeout=10)
    assert (status.lag, status.oldest_age) == (0, None)


def test_mock_cluster_makes_queues_and_knows_their_lag(
    mock_cluster: MockCluster, queue: str
) -> None:
    options = TransportOptions(bootstrap=mock_cluster.bootstrap)
    admin = Admin(options)
    admin.create_queue(queue, timeout=10)
    Publisher(options).publish([Message(queue, b"[]")] * 3, timeout=10)

    (status,) = admin.queue_status([queue], group="g", timeout=10)

    assert (status.partitions, status.lag, status.workers) == (4, 3, 0)
