"""Logs on a real broker, and on the embedded one: what is written stands there, in the partition that its route says."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType

from taskq.timing.shards import Write
from taskq_kafka.admin import Admin
from taskq_kafka.errors import LogUnfit, RecordTooLarge, TopicMissing
from taskq_kafka.logrecords import LogRecord
from taskq_kafka.logs import Logs
from taskq_kafka.options import TransportOptions
from taskq_kafka.shared import shared
from tests.support.kafka import Kafka, admin
from tests.support.mock_cluster import MockCluster
from tests.support.waiting import wait_until

PATIENCE = 30.0


@pytest.fixture(params=["mock", "kafka"])
def logs(request: pytest.FixtureRequest) -> Logs:
    kind = "mock_cluster" if request.param == "mock" else "kafka"
    cluster: Kafka | MockCluster = request.getfixturevalue(kind)
    return shared(Logs, TransportOptions(bootstrap=cluster.bootstrap))


@pytest.fixture
def real(kafka: Kafka) -> Logs:
    return shared(Logs, TransportOptions(bootstrap=kafka.bootstrap))


@pytest.fixture
def careful(kafka: Kafka) -> Logs:
    return shared(Logs, TransportOptions(bootstrap=kafka.bootstrap, auto_create=False))


def append(logs: Logs, *writes: Write) -> None:
    assert logs.append(writes, timeout=PATIENCE) == [None] * len(writes)


def read(logs: Logs, log: str, route: bytes | None = None) -> list[LogRecord]:
    return list(logs.read(log, route=route, timeout=PATIENCE))


def pairs(records: Sequence[LogRecord]) -> list[tuple[bytes, bytes | None]]:
    return sorted((record.key, record.value) for record in records)


def test_what_was_appended_is_read_with_all_it_has(logs: Logs, topic: str) -> None:
    write = Write(topic, b"a", b"a/1", b"value", [("timer-due", b"17"), ("blob", b"\xff\x00")])

    append(logs, write)

    (record,) = read(logs, topic)
    assert (record.key, record.value) == (b"a/1", b"value")
    assert list(record.headers) == list(write.headers)
    assert record.timestamp_ms > 0


def test_a_write_without_value_is_a_tombstone(logs: Logs, topic: str) -> None:
    append(logs, Write(topic, b"a", b"a/1", b"value"), Write(topic, b"a", b"a/1", None))

    assert [record.value for record in read(logs, topic)] == [b"value", None]


def test_records_of_one_route_stand_in_one_partition_in_their_order(logs: Logs, topic: str) -> None:
    routes = [b"%d" % number for number in range(20)]

    append(logs, *(Write(topic, route, b"key", b"%d" % n) for n in range(3) for route in routes))

    whole = read(logs, topic)
    assert len(whole) == 60
    partitions = 4 if len({record.partition for record in whole}) == 4 else 16
    for route in routes:
        wanted = zlib.crc32(route) % partitions
        found = read(logs, topic, route)
        assert {record.partition for record in found} == {wanted}
        others = sum(1 for each in routes if zlib.crc32(each) % partitions == wanted)
        assert [record.value for record in found] == sorted(
            value for value in [b"0", b"1", b"2"] for _ in range(others)
        )


def test_a_log_without_topic_has_no_records(logs: Logs, topic: str) -> None:
    assert read(logs, topic) == []


def test_a_read_that_is_left_in_the_middle_does_not_hold_up_the_next(
    logs: Logs, topic: str
) -> None:
    append(logs, *(Write(topic, b"a", b"%d" % number, b"") for number in range(10)))

    begun = logs.read(topic, timeout=PATIENCE)
    next(iter(begun))
    whole = read(logs, topic)
    del begun

    assert len(whole) == 10
    assert len(read(logs, topic)) == 10


def test_the_topic_of_a_log_is_compacted_and_has_room_for_what_fits_a_queue(
    kafka: Kafka, real: Logs, topic: str
) -> None:
    real.check(topic, timeout=PATIENCE)

    resource = ConfigResource(ResourceType.TOPIC, topic)
    client = admin(kafka.bootstrap)
    (answer,) = client.describe_configs([resource]).values()
    settings = {name: entry.value for name, entry in answer.result(10).items()}
    assert settings["cleanup.policy"] == "compact"
    assert settings["segment.ms"] == "600000"
    assert int(settings["max.message.bytes"]) == 1_048_588 + 65_536
    append(real, Write(topic, b"a", b"a/1", b"x" * 1_080_000))


def test_the_queue_a_record_leads_to_is_there_before_the_record(
    kafka: Kafka, real: Logs, topic: str, queue: str
) -> None:
    append(real, Write(topic, b"a", b"a/1", b"", queue=queue))

    found = Admin.shared(TransportOptions(bootstrap=kafka.bootstrap)).queues(timeout=10)
    assert queue in found


def test_without_auto_create_a_missing_log_takes_nothing(careful: Logs, topic: str) -> None:
    (error,) = careful.append([Write(topic, b"a", b"a/1", b"")], timeout=PATIENCE)

    assert isinstance(error, LogUnfit)
    assert error.sent is False
    assert "auto_create" in str(error)
    assert f"--create --topic {topic} --partitions 16" in str(error)


def test_without_auto_create_a_missing_queue_stops_only_what_leads_to_it(
    real: Logs, careful: Logs, topic: str, queue: str
) -> None:
    real.check(topic, timeout=PATIENCE)
    writes = [
        Write(topic, b"a", b"a/1", b"lost", queue=queue),
        Write(topic, b"a", b"a/2", b"kept"),
    ]

    error, none = careful.append(writes, timeout=PATIENCE)

    assert isinstance(error, TopicMissing)
    assert error.sent is False
    assert none is None
    assert pairs(read(real, topic)) == [(b"a/2", b"kept")]


def test_a_topic_that_would_delete_what_waits_is_refused(
    kafka: Kafka, real: Logs, topic: str
) -> None:
    kafka.create_topic(topic)

    with pytest.raises(LogUnfit, match=r"cleanup\.policy is 'delete'.*--add-config"):
        real.check(topic, timeout=PATIENCE)

    (error,) = real.append([Write(topic, b"a", b"a/1", b"")], timeout=PATIENCE)
    assert isinstance(error, LogUnfit)
    assert error.sent is False


def test_a_record_that_is_too_large_fails_alone(real: Logs, topic: str) -> None:
    writes = [
        Write(topic, b"a", b"a/1", b"x" * 2_000_000),
        Write(topic, b"a", b"a/2", b"small"),
    ]

    large, small = real.append(writes, timeout=PATIENCE)

    assert isinstance(large, RecordTooLarge)
    assert large.sent is False
    assert small is None


def test_a_log_whose_topic_was_deleted_is_made_anew_for_the_next_record(
    kafka: Kafka, real: Logs, topic: str
) -> None:
    append(real, Write(topic, b"a", b"a/1", b"gone"))
    client = admin(kafka.bootstrap)
    (answer,) = client.delete_topics([topic]).values()
    answer.result(10)

    # A partition takes records for a moment longer.
    wait_until(
        lambda: real.append([Write(topic, b"a", b"a/2", b"?")], timeout=PATIENCE) != [None],
        timeout=2 * PATIENCE,
        what="a record that the deleted topic does not take",
    )

    append(real, Write(topic, b"a", b"a/3", b"new"))
