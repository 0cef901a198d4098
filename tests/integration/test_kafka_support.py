"""The real Kafka of the tests does what the tests rely on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.support.cluster import KafkaCluster
from tests.support.installation import Installation
from tests.support.kafka import QUIET, Kafka, KafkaFailed, admin, known_brokers
from tests.support.processes import Processes, process_table
from tests.support.waiting import wait_until


def produce(bootstrap: str, topic: str, value: bytes) -> None:
    """Write one record and wait for the broker's yes."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "logger": QUIET})
    errors: list[object] = []
    producer.produce(topic, value, partition=0, on_delivery=lambda error, _: errors.append(error))
    producer.flush(30)
    assert errors == [None]


def read_all(bootstrap: str, topic: str) -> list[bytes | None]:
    """Return the values of partition 0."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "logger": QUIET,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = []
    while (record := consumer.poll(30)) is not None and record.error() is None:
        values.append(record.value())
    consumer.close()
    assert record is not None, "no end of the partition within 30 s"
    return values


def test_shared_broker_is_up_and_keeps_records(kafka: Kafka, topic: str) -> None:
    kafka.create_topic(topic, partitions=1)

    produce(kafka.bootstrap, topic, b"1")

    assert read_all(kafka.bootstrap, topic) == [b"1"]


def test_missing_topics_do_not_appear_by_themselves(kafka: Kafka, topic: str) -> None:
    metadata = admin(kafka.bootstrap).list_topics(topic, timeout=10)

    assert topic not in admin(kafka.bootstrap).list_topics(timeout=10).topics
    assert metadata.topics[topic].error is not None


def test_short_sessions_can_be_had(kafka: Kafka, group: str) -> None:
    from confluent_kafka.admin import (
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in {
            "consumer.session.timeout.ms": "6000",
            "consumer.heartbeat.interval.ms": "500",
        }.items()
    ]
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=entries)
    client = admin(kafka.bootstrap)

    answer = client.incremental_alter_configs([resource])[resource]

    assert answer.result(10) is None


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_restart_keeps_address_and_records(own_kafka: Kafka, topic: str, end: str) -> None:
    own_kafka.create_topic(topic, partitions=1)
    produce(own_kafka.bootstrap, topic, b"before")
    address = own_kafka.bootstrap

    getattr(own_kafka, end)()
    assert known_brokers(address, timeout=0.5) == 0
    own_kafka.start()
    produce(address, topic, b"after")

    assert read_all(address, topic) == [b"before", b"after"]


def test_frozen_broker_does_not_answer_until_it_is_thawed(own_kafka: Kafka) -> None:
    client = admin(own_kafka.bootstrap)
    client.list_topics(timeout=10)

    own_kafka.freeze()
    with pytest.raises(KafkaException):
        client.list_topics(timeout=0.5)
    own_kafka.thaw()

    assert client.list_topics(timeout=20).brokers


def test_frozen_broker_can_be_killed(own_kafka: Kafka) -> None:
    own_kafka.freeze()

    own_kafka.kill()

    assert not own_kafka.is_running


def test_settings_given_go_over_those_of_the_tests(kafka_home: Installation, topic: str) -> None:
    settings = {"auto.create.topics.enable": "true", "num.partitions": "7"}
    with Kafka(home=kafka_home, settings=settings) as kafka:
        produce(kafka.bootstrap, topic, b"1")

        found = admin(kafka.bootstrap).list_topics(topic, timeout=10).topics[topic]

    assert len(found.partitions) == 7


def test_broker_that_does_not_start_tells_why(kafka_home: Installation) -> None:
    kafka = Kafka(home=kafka_home, settings={"log.retention.hours": "many"})

    with pytest.raises(KafkaFailed, match=r"log\.retention\.hours"):
        kafka.start()

    kafka.close()


def test_cluster_survives_the_kill_of_a_node(cluster: KafkaCluster, topic: str) -> None:
    cluster.create_topic(topic, partitions=1)
    produce(cluster.bootstrap, topic, b"before")
    metadata = admin(cluster.bootstrap).list_topics(topic, timeout=10)
    leader = metadata.topics[topic].partitions[0].leader
    assert len(metadata.brokers) == 3

    cluster.node(leader).kill()
    produce(cluster.bootstrap, topic, b"without it")
    cluster.node(leader).start()
    cluster.node(leader).wait_up(nodes=3)

    assert read_all(cluster.bootstrap, topic) == [b"before", b"without it"]


def test_leaders_move_while_all_nodes_live(cluster: KafkaCluster, topic: str) -> None:
    cluster.create_topic(topic, partitions=4)
    produce(cluster.bootstrap, topic, b"before")

    moved = cluster.move_leaders(random.Random(1))
    cluster.wait_whole()
    produce(cluster.bootstrap, topic, b"after")

    assert moved > 0
    assert read_all(cluster.bootstrap, topic) == [b"before", b"after"]


def test_no_broker_outlives_killed_tests(kafka_home: Installation, processes: Processes) -> None:
    tests = processes.python(
        "-c",
        "import sys; from tests.support.kafka import Kafka\n"
        "kafka = Kafka(); kafka.start(); print('broker', kafka.pid); sys.stdin.close()\n"
        "import threading; threading.Event().wait()",
    )
    broker = int(tests.wait_for_line(r"broker (\d+)", timeout=60)[1])

    tests.signal(signal.SIGKILL)
    tests.wait()

    def is_gone() -> bool:
        return broker not in {entry.pid for entry in process_table() if not entry.is_zombie}

    wait_until(is_gone, timeout=30, what="the end of the broker")


def test_two_processes_may_make_the_installation_at_once(tmp_path: object) -> None:
    command = [
        sys.executable,
        "-c",
        "from tests.support.installation import installation; print(installation().folder)",
    ]
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    from tests.support.processes import environment

    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(env))
        for _ in range(2)
    ]
    folders = {process.communicate()[0] for process in both}

    assert [process.returncode for process in both] == [0, 0]
    assert len(folders) == 1
