"""Dead letters on a real Kafka: nothing that fitted its queue is too large, and what is read is what stands."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Producer

from taskq_kafka.admin import Admin
from taskq_kafka.errors import LetterTooLarge
from taskq_kafka.options import TransportOptions
from taskq_kafka.publisher import Publisher, get_publisher
from taskq_kafka.records import HeaderList, Record
from taskq_kafka.sending import Message
from tests.support.kafka import Kafka
from tests.support.mock_cluster import MockCluster


@dataclass(frozen=True)
class DeadLetter:
    record: Record
    headers: list[tuple[str, bytes]] = field(
        default_factory=lambda: [("dlq-reason", b"failed"), ("dlq-error", b"ValueError: no")]
    )


def record(
    queue: str,
    offset: int = 0,
    *,
    key: bytes | None = None,
    value: bytes | None = b"[[],{},{}]",
    headers: HeaderList = (("task", b"invoice"),),
) -> Record:
    return Record(queue, 3, offset, 1_700_000_000_000, key, value, headers)


@pytest.fixture
def options(kafka: Kafka) -> TransportOptions:
    return TransportOptions(bootstrap=kafka.bootstrap)


@pytest.fixture
def admin(options: TransportOptions) -> Admin:
    return Admin.shared(options)


@pytest.fixture
def publisher(options: TransportOptions) -> Publisher:
    return get_publisher(options)


def test_letter_is_its_record_byte_for_byte_and_the_reason(
    publisher: Publisher, admin: Admin, queue: str
) -> None:
    hostile: HeaderList = [("task", b"\xff\xfe"), ("task", b"twice"), ("null", None)]
    source = record(queue, 7, key=b"\x00key", value=b"\x80\x81", headers=hostile)

    errors = publisher.dead_letters([DeadLetter(source)], timeout=10)

    assert errors == [None]
    (letter,) = admin.dead_letters(queue, timeout=10)
    assert letter.id == f"{queue}/3/7"
    assert letter.queue == queue
    assert letter.value == b"\x80\x81"
    assert list(letter.headers) == [
        *hostile,
        ("dlq-reason", b"failed"),
        ("dlq-error", b"ValueError: no"),
        ("dlq-source-key", b"\x00key"),
    ]
    assert letter.timestamp_ms > 0


def test_record_without_value_comes_back_without_value(
    publisher: Publisher, admin: Admin, queue: str
) -> None:
    publisher.dead_letters([DeadLetter(record(queue, value=None))], timeout=10)

    (letter,) = admin.dead_letters(queue, timeout=10)

    assert letter.value is None


def test_letter_written_twice_is_one(publisher: Publisher, admin: Admin, queue: str) -> None:
    publisher.dead_letters([DeadLetter(record(queue))] * 2, timeout=10)

    assert len(admin.dead_letters(queue, timeout=10)) == 1


def test_tombstone_takes_a_letter_out(
    kafka: Kafka, publisher: Publisher, admin: Admin, queue: str
) -> None:
    publisher.dead_letters([DeadLetter(record(queue, n)) for n in range(3)], timeout=10)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})
    producer.produce(f"{queue}.dlq", None, f"{queue}/3/1".encode())
    producer.flush(10)

    ids = [letter.id for letter in admin.dead_letters(queue, timeout=10)]

    assert ids == [f"{queue}/3/0", f"{queue}/3/2"]


def test_transaction_markers_and_aborted_letters_do_not_disturb_the_reader(
    kafka: Kafka, publisher: Publisher, admin: Admin, queue: str
) -> None:
    publisher.dead_letters([DeadLetter(record(queue))], timeout=10)
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "transactional.id": queue,
            "partitioner": "murmur2_random",
        }
    )
    producer.init_transactions(10)
    for key, end in (
        (b"q/0/1", producer.commit_transaction),
        (b"q/0/2", producer.abort_transaction),
    ):
        producer.begin_transaction()
        producer.produce(f"{queue}.dlq", b"[]", key)
        producer.flush(10)
        end(10)

    ids = {letter.id for letter in admin.dead_letters(queue, timeout=10)}

    assert ids == {f"{queue}/3/0", "q/0/1"}


def test_largest_record_of_a_queue_fits_its_dead_letters(
    publisher: Publisher, admin: Admin, queue: str
) -> None:
    largest = b"x" * (1_048_588 - 200)
    assert publisher.publish([Message(queue, largest)], timeout=10) == [None]
    reasons = [("dlq-traceback", b"t" * 16_384), ("dlq-error", b"e" * 200_000)]

    errors = publisher.dead_letters([DeadLetter(record(queue, value=largest), reasons)], timeout=10)

    assert errors == [None]
    (letter,) = admin.dead_letters(queue, timeout=10)
    assert letter.value == largest


def test_dead_letter_topic_has_room_for_a_queue_with_larger_records(
    kafka: Kafka, publisher: Publisher, admin: Admin, queue: str
) -> None:
    kafka.create_topic(queue, config={"max.message.bytes": "3000000"})

    errors = publisher.dead_letters([DeadLetter(record(queue, value=b"x" * 2_990_000))], timeout=20)

    assert errors == [None]


JSON_ROWS = json.dumps(
    [{"number": number, "text": f"{number * 7919 % 99991:x}" * 3} for number in range(60_000)]
).encode()
"""What other programs send compressed: 3 MB, and still 600 KB when it is."""


@pytest.mark.parametrize("compression", ["gzip", "lz4", "zstd"])
def test_letter_of_a_record_that_only_fits_compressed_is_written(
    kafka: Kafka, publisher: Publisher, admin: Admin, queue: str, compression: str
) -> None:
    kafka.create_topic(queue, partitions=1)
    other = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "compression.type": compression,
            "message.max.bytes": 20_000_000,
        }
    )
    taken: list[object] = []
    other.produce(queue, JSON_ROWS, on_delivery=lambda error, message: taken.append(error))
    other.flush(10)
    assert taken == [None]

    small, large = record(queue, 1), record(queue, 2, value=JSON_ROWS)
    errors = publisher.dead_letters([DeadLetter(small), DeadLetter(large)], timeout=20)

    assert errors == [None, None]
    letters = {letter.id: letter.value for letter in admin.dead_letters(queue, timeout=20)}
    assert letters == {f"{queue}/3/1": small.value, f"{queue}/3/2": JSON_ROWS}


def test_letter_larger_than_the_clients_own_limit_is_written(
    publisher: Publisher, admin: Admin, queue: str
) -> None:
    blank = b" " * 40_000_000

    errors = publisher.dead_letters([DeadLetter(record(queue, value=blank))], timeout=20)

    assert errors == [None]
    (letter,) = admin.dead_letters(queue, timeout=20)
    assert letter.value == blank


def test_letter_that_does_not_fit_compressed_either_is_refused_and_says_what_to_do(
    publisher: Publisher, admin: Admin, queue: str
) -> None:
    noise = random.Random(queue).randbytes(1_300_000)
    small = record(queue, 1)

    refused, written = publisher.dead_letters(
        [DeadLetter(record(queue, value=noise)), DeadLetter(small)], timeout=20
    )

    assert isinstance(refused, LetterTooLarge)
    assert (refused.queue, refused.topic, refused.sent) == (queue, f"{queue}.dlq", False)
    assert "1300000 bytes" in str(refused)
    assert f"raise max.message.bytes of the topic '{queue}.dlq'" in str(refused)
    assert written is None


def test_queue_without_dead_letters_has_none(admin: Admin, queue: str) -> None:
    assert admin.dead_letters(queue, timeout=10) == []


def test_many_letters_are_read_oldest_first(publisher: Publisher, admin: Admin, queue: str) -> None:
    publisher.dead_letters([DeadLetter(record(queue, n)) for n in range(2000)], timeout=20)
    admin.dead_letters(queue, timeout=10)

    letters = admin.dead_letters(queue, timeout=10)

    assert len(letters) == 2000
    assert [each.timestamp_ms for each in letters] == sorted(each.timestamp_ms for each in letters)


def test_mock_cluster_keeps_letters_too(mock_cluster: MockCluster, queue: str) -> None:
    options = TransportOptions(bootstrap=mock_cluster.bootstrap)
    publisher, admin = Publisher(options), Admin(options)

    publisher.dead_letters([DeadLetter(record(queue, n)) for n in range(10)], timeout=10)

    assert len(admin.dead_letters(queue, timeout=10)) == 10
