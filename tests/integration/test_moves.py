"""Moves from a queue to a log on a real Kafka: who lost its place moves nothing, and no record is both moved and delivered."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import pytest
from confluent_kafka import Producer

from taskq.timing.shards import Write
from taskq_kafka.consumer import QueueConsumer
from taskq_kafka.errors import ClaimGivenUp, LogUnfit, RecordTooLarge
from taskq_kafka.groups import Groups
from taskq_kafka.logs import Logs
from taskq_kafka.options import TransportOptions
from taskq_kafka.records import Record
from tests.support.frames import ApiKey
from tests.support.kafka import Kafka
from tests.support.proxy import Proxy
from tests.support.waiting import Deadline

LOG = "taskq.timers"
PATIENCE = 60.0
PARTITIONS = 4

Place = tuple[int, int]


class Crew:
    """Makes consumers of one queue and group behind a prefix, and knows what was moved."""

    def __init__(self, kafka: Kafka, queue: str, group: str, protocol: str) -> None:
        self._kafka, self._queue, self._group, self._protocol = kafka, queue, group, protocol
        self._open: list[QueueConsumer] = []
        self._logs = Logs(self.options())
        self._logs.check(LOG, timeout=PATIENCE)
        kafka.create_topic(self.topic, partitions=PARTITIONS)

    @property
    def topic(self) -> str:
        return f"{self._queue}.{self._queue}"

    def options(self, bootstrap: str | None = None) -> TransportOptions:
        return TransportOptions(
            bootstrap=bootstrap or self._kafka.bootstrap,
            prefix=f"{self._queue}.",
            group=self._group,
            group_protocol=self._protocol,
            heartbeat=0.5,
        )

    def join(self, bootstrap: str | None = None) -> QueueConsumer:
        """Return a consumer that has moved once, so that its next moves are tried."""
        options = self.options(bootstrap)
        consumer = QueueConsumer(
            options, self._queue, groups=Groups(options), tags=itertools.count(1)
        )
        self._open.append(consumer)
        return consumer

    def warm(self, consumer: QueueConsumer) -> None:
        """Have the first move of a consumer done, which is refused once."""
        self.send(1)
        [record] = fetch(consumer, 1)
        assert move(consumer, [record]) == []
        [record] = fetch(consumer, 1)
        assert move(consumer, [record]) == [record]

    def send(self, count: int) -> None:
        producer = Producer({"bootstrap.servers": self._kafka.bootstrap})
        for number in range(count):
            producer.produce(self.topic, b"%d" % number, partition=number % PARTITIONS)
        assert producer.flush(10) == 0

    def moved(self) -> list[Place]:
        """Return what stands in the log, by the places it came from."""
        keys = [record.key.split(b"-") for record in self._logs.read(LOG, timeout=PATIENCE)]
        return sorted((int(partition), int(offset)) for _, partition, offset in keys)

    def close(self) -> None:
        for consumer in self._open:
            consumer.close()


def write(record: Record) -> Write:
    return Write(LOG, b"id", b"id-%d-%d" % (record.partition, record.offset), record.value)


def move(
    consumer: QueueConsumer, records: Sequence[Record], give_up: Callable[[], bool] = lambda: False
) -> list[Record]:
    granted, _ = consumer.move(records, [write(record) for record in records], give_up=give_up)
    return granted


def places(records: Sequence[Record]) -> list[Place]:
    return sorted((record.partition, record.offset) for record in records)


def fetch(consumer: QueueConsumer, count: int) -> list[Record]:
    records: list[Record] = []
    deadline = Deadline(PATIENCE)
    while len(records) < count:
        assert not deadline.is_over, f"{len(records)} of {count} records came"
        records += consumer.fetch(count - len(records), 0.05)
    return records


def fetch_past(consumer: QueueConsumer, batch: Sequence[Record]) -> list[Record]:
    """Fetch until of each partition a record has come that stands behind those of a batch; what is left of these came before."""
    behind = {record.partition: record.offset for record in batch}
    records: list[Record] = []
    while behind:
        (record,) = fetch(consumer, 1)
        records.append(record)
        if record.offset > behind.get(record.partition, record.offset):
            del behind[record.partition]
    return records


@pytest.fixture(params=["consumer", "classic"])
def crew(kafka: Kafka, queue: str, group: str, request: pytest.FixtureRequest) -> Iterator[Crew]:
    crew = Crew(kafka, queue, group, request.param)
    yield crew
    crew.close()


@pytest.fixture
def one_crew(kafka: Kafka, queue: str, group: str) -> Iterator[Crew]:
    crew = Crew(kafka, queue, group, "consumer")
    yield crew
    crew.close()


def test_a_member_that_lost_its_place_between_poll_and_transaction_moves_nothing(
    proxied_kafka: Proxy, crew: Crew
) -> None:
    zombie = crew.join(proxied_kafka.bootstrap)
    crew.warm(zombie)
    crew.send(8)
    batch = fetch(zombie, 8)
    proxied_kafka.stall()
    heir = crew.join()
    inherited = fetch(heir, 8)
    before = crew.moved()
    assert heir.claim(inherited)[1] == []

    proxied_kafka.pass_everything()
    moved = move(zombie, batch)

    assert moved == []
    assert crew.moved() == before
    assert places(inherited) == places(batch)


def test_a_move_whose_answer_was_cut_off_is_done_once(proxied_kafka: Proxy, one_crew: Crew) -> None:
    consumer = one_crew.join(proxied_kafka.bootstrap)
    one_crew.warm(consumer)
    one_crew.send(4)
    batch = fetch(consumer, 4)
    proxied_kafka.cut_at_answer(ApiKey.END_TXN, count=2)

    moved = move(consumer, batch)

    assert places(moved) == places(batch)
    stored = one_crew.moved()
    assert len(stored) == len(set(stored)) == 5
    assert set(places(batch)) < set(stored)


def test_what_a_given_up_move_was_for_is_moved_or_comes_again_and_never_both(
    proxied_kafka: Proxy, one_crew: Crew
) -> None:
    consumer = one_crew.join(proxied_kafka.bootstrap)
    one_crew.warm(consumer)
    one_crew.send(4)
    batch = fetch(consumer, 4)
    rule = proxied_kafka.cut_at_answer(ApiKey.END_TXN)

    with pytest.raises(ClaimGivenUp):
        move(consumer, batch, lambda: True)

    proxied_kafka.remove(rule)
    assert not any(consumer.holds(record) for record in batch)
    consumer.close()
    one_crew.send(4)
    heir = one_crew.join()
    come = places(fetch_past(heir, batch))
    assert not set(come) & set(one_crew.moved())
    assert set(places(batch)) <= {*come, *one_crew.moved()}


def test_a_record_that_is_too_large_for_the_log_is_still_held(one_crew: Crew, kafka: Kafka) -> None:
    consumer = one_crew.join()
    one_crew.warm(consumer)
    one_crew.send(1)
    [record] = fetch(consumer, 1)
    large = Write(LOG, b"id", b"id-9-9", b"x" * 1_200_000)

    with pytest.raises(RecordTooLarge):
        consumer.move([record], [large])

    assert consumer.holds(record)
    assert move(consumer, [record]) == [record]
    assert len(one_crew.moved()) == 2


def test_a_log_that_would_lose_records_is_refused(kafka: Kafka, queue: str) -> None:
    kafka.create_topic(f"{queue}.{LOG}", partitions=4)
    logs = Logs(TransportOptions(bootstrap=kafka.bootstrap, prefix=f"{queue}."))

    with pytest.raises(LogUnfit, match=r"cleanup\.policy"):
        logs.check(LOG, timeout=PATIENCE)
