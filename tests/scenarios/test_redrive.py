"""A redrive is killed in the middle, again and again, or two run at once.

What goes wrong: SIGKILL at any moment between reading the dead letters and the end, and a second command beside the first.
What must hold after: each of 10,000 dead letters stands in its queue once, for a `read_committed` reader, and no letter is left.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from taskq.protocols import DeadLetter
from taskq_kafka.admin import Admin
from taskq_kafka.options import TransportOptions
from taskq_kafka.publisher import Publisher
from taskq_kafka.records import Record
from tests.support.commands import Taskq
from tests.support.kafka import QUIET, Kafka
from tests.support.station import PATIENCE, Station, headers_of, station
from tests.support.waiting import wait_until


@pytest.fixture
def place(kafka: Kafka, tmp_path: Path) -> Iterator[Station]:
    with station(kafka.bootstrap, tmp_path, "redrive") as place:
        kafka.create_topic(place.queue, partitions=3)
        kafka.create_topic(f"{place.queue}.dlq", partitions=3)
        yield place


@pytest.fixture
def options(kafka: Kafka) -> TransportOptions:
    return TransportOptions(bootstrap=kafka.bootstrap)


def put_aside(options: TransportOptions, queue: str, count: int) -> None:
    letters = [
        DeadLetter(
            Record(queue, 0, number, 0, None, b"%d" % number, [("task", b"t"), ("id", b"i")]),
            [("dlq-reason", b"failed")],
        )
        for number in range(count)
    ]
    publisher = Publisher(options)
    for first in range(0, count, 2_000):
        errors = publisher.dead_letters(letters[first : first + 2_000], timeout=PATIENCE)
        assert not any(errors)
    publisher.close(timeout=PATIENCE)


class Watch:
    """Sees how far a queue's partitions have grown, open transactions included."""

    def __init__(self, bootstrap: str, queue: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "watch", "logger": QUIET}
        )
        self._places = [TopicPartition(queue, number) for number in range(3)]

    def written(self) -> int:
        ends = [
            self._consumer.get_watermark_offsets(place, timeout=PATIENCE) for place in self._places
        ]
        return sum(high for _, high in ends)

    def wait_for(self, count: int) -> None:
        wait_until(lambda: self.written() >= count, timeout=PATIENCE, what=f"{count} records")

    def close(self) -> None:
        self._consumer.close()


def values(bootstrap: str, queue: str) -> Counter[str]:
    """Return how often each value stands in the queue, for a reader of what is committed."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "logger": QUIET,
        }
    )
    consumer.assign([TopicPartition(queue, number, 0) for number in range(3)])
    found: Counter[str] = Counter()
    ended: set[int | None] = set()
    while len(ended) < 3:
        for message in consumer.consume(5_000, 1):
            if message.error() is not None:
                ended.add(message.partition())
                continue
            headers = dict(headers_of(message))
            assert headers["redriven"] == b"1"
            value = (message.value() or b"").decode()
            assert headers["redriven-from"] == f"{queue}/0/{value}".encode()
            found[value] += 1
    consumer.close()
    return found


@pytest.mark.parametrize(("count", "rate"), [(10_000, ()), (4_000, ("--rate", "1000"))])
def test_redrive_killed_three_times_brings_each_letter_back_once(
    place: Station, options: TransportOptions, count: int, rate: tuple[str, ...]
) -> None:
    put_aside(options, place.queue, count)
    watch = Watch(place.bootstrap, place.queue)
    command = ("dlq", "redrive", place.queue, "--all", "--yes", *rate)

    for _ in range(3):
        process = place.processes.taskq(*command, env=place.environment)
        watch.wait_for(watch.written() + count // 8)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    done = Taskq(place)(*command, "--json")

    watch.close()
    assert done.code == 0, done.err
    assert 0 < done.json["moved"] < count - 3 * (count // 10)
    assert values(place.bootstrap, place.queue) == Counter(map(str, range(count)))
    assert Admin(options).dead_letters(place.queue, timeout=PATIENCE) == []


def test_of_two_redrives_at_once_the_later_one_goes_on_and_nothing_is_doubled(
    place: Station, options: TransportOptions
) -> None:
    put_aside(options, place.queue, 1_500)
    watch = Watch(place.bootstrap, place.queue)
    command = ("dlq", "redrive", place.queue, "--all", "--yes")

    earlier = place.processes.taskq(*command, "--rate", "25", env=place.environment)
    watch.wait_for(50)
    later = Taskq(place)(*command, "--json")

    watch.close()
    assert later.code == 0, later.err
    assert earlier.wait(timeout=PATIENCE) == 1
    *_, first, last = earlier.text.splitlines()
    assert "has taken over" in last
    assert first.startswith("redriven ")
    assert values(place.bootstrap, place.queue) == Counter(map(str, range(1_500)))


def test_a_discard_killed_in_the_middle_leaves_the_rest(
    place: Station, options: TransportOptions
) -> None:
    put_aside(options, place.queue, 1_500)
    watch = Watch(place.bootstrap, f"{place.queue}.dlq")
    command = ("dlq", "discard", place.queue, "--all", "--yes")

    process = place.processes.taskq(*command, "--rate", "250", env=place.environment)
    watch.wait_for(watch.written() + 300)
    process.kill()
    left = len(Admin(options).dead_letters(place.queue, timeout=PATIENCE))
    done = Taskq(place)(*command, "--json")

    watch.close()
    assert 0 < left < 1_500
    assert done.json["moved"] <= left
    assert Admin(options).dead_letters(place.queue, timeout=PATIENCE) == []
    assert values(place.bootstrap, place.queue) == Counter()
