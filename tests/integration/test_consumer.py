"""The claim and its hazards, on a real Kafka: each rule of the consumer has a test that fails without it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from taskq.clock import SystemClock, unix_ms
from taskq_kafka import commits
from taskq_kafka.commits import CommitRequest, commit
from taskq_kafka.consumer import QueueConsumer
from taskq_kafka.errors import ClaimGivenUp
from taskq_kafka.groups import Groups
from taskq_kafka.heldwatch import HeldWatch
from taskq_kafka.membership import RebalanceEvent
from taskq_kafka.offsets import State
from taskq_kafka.options import TransportOptions
from taskq_kafka.records import Record
from tests.support.faults import Stage
from tests.support.frames import ApiKey
from tests.support.kafka import Kafka
from tests.support.proxy import Proxy
from tests.support.waiting import Deadline, wait_until

PATIENCE = 30.0
PARTITIONS = 4
EIGHT_DAYS_MS = 8 * 86_400_000


class Members:
    """Makes consumers of one queue and group, and closes them."""

    def __init__(self, bootstrap: str, queue: str, group: str, protocol: str) -> None:
        self.bootstrap, self.queue, self.group, self.protocol = bootstrap, queue, group, protocol
        self.events: list[tuple[int, RebalanceEvent]] = []
        self._open: list[QueueConsumer] = []
        self._numbers = itertools.count(1)

    def join(self, bootstrap: str | None = None, client_id: str = "taskq") -> QueueConsumer:
        options = TransportOptions(
            bootstrap=bootstrap or self.bootstrap,
            group=self.group,
            group_protocol=self.protocol,
            heartbeat=0.5,
            client_id=client_id,
        )
        number = next(self._numbers)
        consumer = QueueConsumer(
            options,
            self.queue,
            groups=Groups(options),
            tags=itertools.count(1),
            on_rebalance=lambda event: self.events.append((number, event)),
        )
        self._open.append(consumer)
        return consumer

    def committed(self) -> dict[int, int]:
        """Return the group's offsets by partition, asked from outside."""
        reader = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group})
        try:
            asked = [TopicPartition(self.queue, number) for number in range(PARTITIONS)]
            return {answer.partition: answer.offset for answer in reader.committed(asked)}
        finally:
            reader.close()

    def write(self, offset: int, metadata: str, partition: int = 0) -> None:
        """Commit for an empty group, from outside."""
        writer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group})
        try:
            target = TopicPartition(self.queue, partition, offset, metadata)
            writer.commit(offsets=[target], asynchronous=False)
        finally:
            writer.close()

    def close(self) -> None:
        for consumer in self._open:
            consumer.close()


@pytest.fixture(params=["consumer", "classic"])
def protocol(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture
def members(kafka: Kafka, queue: str, group: str, protocol: str) -> Iterator[Members]:
    # As our queues: Kafka's default would delete the old records of some tests, when it comes to it.
    kafka.create_topic(queue, partitions=PARTITIONS, config={"retention.ms": "-1"})
    members = Members(kafka.bootstrap, queue, group, protocol)
    yield members
    members.close()


@pytest.fixture
def send(kafka: Kafka, queue: str) -> Callable[..., None]:
    def send(count: int, *, partition: int | None = None, age_ms: int = 0) -> None:
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        timestamp = unix_ms(SystemClock()) - age_ms
        for number in range(count):
            where = number % PARTITIONS if partition is None else partition
            producer.produce(queue, value=b"%d" % number, partition=where, timestamp=timestamp)
        assert producer.flush(10) == 0

    return send


def fetch(consumer: QueueConsumer, count: int, *others: QueueConsumer) -> list[Record]:
    """Fetch until `count` records have come; the other consumers are polled meanwhile, and must get none."""
    records: list[Record] = []
    deadline = Deadline(PATIENCE)
    while len(records) < count:
        assert not deadline.is_over, f"{len(records)} of {count} records came"
        records += consumer.fetch(count - len(records), 0.05)
        for other in others:
            other.fetch(100, 0.01)
    return records


def poll_until(condition: Callable[[], bool], *consumers: QueueConsumer) -> None:
    deadline = Deadline(PATIENCE)
    while not condition():
        assert not deadline.is_over
        for consumer in consumers:
            consumer.fetch(1000, 0.02)


def partitions_of(records: Sequence[Record]) -> set[int]:
    return {record.partition for record in records}


def test_a_granted_claim_is_committed_before_it_returns(
    members: Members, send: Callable[..., None]
) -> None:
    send(8)
    consumer = members.join()
    records = fetch(consumer, 8)

    granted, refused = consumer.claim(records)

    assert granted == records
    assert refused == []
    assert members.committed() == dict.fromkeys(range(PARTITIONS), 2)


def test_records_fetched_before_a_revoke_are_refused_and_reach_the_new_owner(
    members: Members, send: Callable[..., None]
) -> None:
    send(40)
    first = members.join()
    batch = fetch(first, 40)
    second = members.join()
    taken: list[Record] = []

    def second_has_its_records() -> bool:
        taken.extend(second.fetch(100, 0.02))
        return len(taken) == 20

    poll_until(second_has_its_records, first)
    granted, refused = first.claim(batch)

    assert partitions_of(refused) == partitions_of(taken)
    assert len(granted) == 20
    assert not partitions_of(granted) & partitions_of(taken)
    assert second.claim(taken) == (taken, [])


def test_a_zombie_is_refused_and_does_not_rewind_its_heir_even_after_it_has_rejoined(
    members: Members, send: Callable[..., None], proxied_kafka: Proxy
) -> None:
    send(40)
    zombie = members.join(proxied_kafka.bootstrap)
    batch = fetch(zombie, 40)
    proxied_kafka.stall()
    heir = members.join()
    inherited = fetch(heir, 40)
    assert heir.claim(inherited)[1] == []
    before = members.committed()

    proxied_kafka.pass_everything()
    granted, _ = zombie.claim(batch)
    assert granted == []
    poll_until(lambda: any(n == 1 and e.kind == "lost" for n, e in members.events), zombie, heir)
    poll_until(lambda: zombie.assigned and bool(zombie.status().partitions), zombie, heir)
    granted_again, _ = zombie.claim(batch)

    assert granted_again == []
    assert members.committed() == before


def test_a_claim_whose_answer_was_cut_off_is_repeated_and_granted(
    members: Members, send: Callable[..., None], proxied_kafka: Proxy
) -> None:
    send(4)
    consumer = members.join(proxied_kafka.bootstrap)
    records = fetch(consumer, 4)
    proxied_kafka.cut_at_answer(ApiKey.OFFSET_COMMIT, count=2)

    granted, refused = consumer.claim(records)

    assert (granted, refused) == (records, [])
    assert members.committed() == dict.fromkeys(range(PARTITIONS), 1)


def test_a_claim_on_a_topic_that_was_deleted_is_refused_and_does_not_hang(
    members: Members,
    send: Callable[..., None],
    kafka: Kafka,
    queue: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(commits, "TOPIC_PATIENCE", 1.0)
    send(4)
    consumer = members.join()
    records = fetch(consumer, 4)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([queue], operation_timeout=10)[queue].result(10)
    # The coordinator hears of it a moment later.
    stranger = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": f"{queue}-stranger"})
    wait_until(
        lambda: not can_commit(stranger, queue), timeout=PATIENCE, what="commits being refused"
    )
    stranger.close()

    with caplog.at_level(logging.ERROR), ThreadPoolExecutor(1) as pool:
        granted, refused = pool.submit(consumer.claim, records).result(PATIENCE)

    assert (granted, len(refused)) == ([], 4)
    assert "UNKNOWN_TOPIC_OR_PART" in caplog.text


def can_commit(consumer: Consumer, topic: str) -> bool:
    """Return whether the broker takes a commit for a topic."""
    try:
        consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise
        return False
    return True


@pytest.mark.parametrize("heir_claims", [False, True])
def test_a_claim_that_was_taken_is_granted_although_the_member_has_lost_its_place(
    members: Members, send: Callable[..., None], proxied_kafka: Proxy, heir_claims: bool
) -> None:
    send(20)
    first = members.join(proxied_kafka.bootstrap)
    batch = fetch(first, 20)
    mark = proxied_kafka.mark()
    proxied_kafka.cut_at_answer(ApiKey.OFFSET_COMMIT, count=1)
    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(first.claim, batch)
        proxied_kafka.wait_for(ApiKey.OFFSET_COMMIT, stage=Stage.ANSWER, after=mark)
        proxied_kafka.stall()
        heir = members.join()
        send(20)
        later = fetch(heir, 20)
        if heir_claims:
            assert heir.claim(later)[1] == []
        proxied_kafka.pass_everything()
        granted, refused = claim.result(PATIENCE)

    places = {(record.partition, record.offset) for record in later}
    assert not places & {(record.partition, record.offset) for record in batch}
    assert (granted, refused) == (batch, [])


def test_a_claim_that_was_not_taken_is_refused_when_the_member_has_lost_its_place(
    members: Members, send: Callable[..., None], proxied_kafka: Proxy
) -> None:
    send(20)
    first = members.join(proxied_kafka.bootstrap)
    batch = fetch(first, 20)
    mark = proxied_kafka.mark()
    dropped = proxied_kafka.drop_requests(ApiKey.OFFSET_COMMIT)
    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(first.claim, batch)
        proxied_kafka.wait_for(ApiKey.OFFSET_COMMIT, after=mark)
        proxied_kafka.stall()
        heir = members.join()
        inherited = fetch(heir, 20)
        assert heir.claim(inherited)[1] == []
        proxied_kafka.remove(dropped)
        proxied_kafka.cut()
        proxied_kafka.pass_everything()
        granted, refused = claim.result(PATIENCE)

    assert (granted, len(refused)) == ([], 20)


def test_a_claim_that_is_given_up_names_its_records_and_grants_none(
    members: Members, send: Callable[..., None], proxied_kafka: Proxy
) -> None:
    send(4)
    consumer = members.join(proxied_kafka.bootstrap)
    records = fetch(consumer, 4)
    rule = proxied_kafka.cut_at_answer(ApiKey.OFFSET_COMMIT)

    with pytest.raises(ClaimGivenUp) as caught:
        consumer.claim(records, give_up=lambda: True)

    proxied_kafka.remove(rule)
    assert set(caught.value.tags) == {record.delivery_tag for record in records}


def test_a_commit_that_is_spoiled_by_one_partition_is_decided_for_each(
    kafka: Kafka, queue: str, group: str
) -> None:
    kafka.create_topic(queue, partitions=PARTITIONS)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    too_large = State(5, tuple(range(5, 60_000, 3)), 60_001)
    try:
        states = {0: State(7), 1: too_large, 2: State(9)}
        answer = commit(
            CommitRequest(
                lambda places: consumer.commit(offsets=list(places), asynchronous=False) or [],
                queue,
                states,
                lambda: False,
                lambda _: {},
            )
        )
    finally:
        consumer.close()

    assert answer.accepted == {0, 2}
    assert "OFFSET_METADATA_TOO_LARGE" in answer.failed[1]


def test_a_refused_batch_is_fetched_again(members: Members, send: Callable[..., None]) -> None:
    send(8)
    consumer = members.join()
    records = fetch(consumer, 8)
    claimed, returned = records[:4], records[4:]
    consumer.claim(claimed)

    consumer.give_back(returned)
    again = fetch(consumer, 4)

    assert {(r.partition, r.offset) for r in again} == {(r.partition, r.offset) for r in returned}
    assert consumer.claim(again) == (again, [])


def test_only_what_was_not_finished_comes_again_after_a_restart(
    members: Members, send: Callable[..., None]
) -> None:
    send(10, partition=1)
    consumer = members.join()
    records = fetch(consumer, 10)
    consumer.settle(record for record in records if record.offset not in (0, 4))
    consumer.close()

    heir = members.join()

    assert [record.offset for record in fetch(heir, 2)] == [0, 4]
    assert members.committed()[1] == 0


def test_a_claim_above_an_unfinished_record_does_not_pass_it(
    members: Members, send: Callable[..., None]
) -> None:
    send(10, partition=2)
    consumer = members.join()
    records = fetch(consumer, 10)

    granted, _ = consumer.claim(records[1:])

    assert granted == records[1:]
    assert members.committed()[2] == 0


def test_pause_stops_and_resume_goes_on_without_a_gap(
    members: Members, send: Callable[..., None]
) -> None:
    send(400)
    consumer = members.join()
    seen = fetch(consumer, 10)

    for _ in range(5):
        consumer.pause()
        assert consumer.fetch(10, 0.02) == []
        consumer.resume()
        seen += fetch(consumer, 10)
    seen += fetch(consumer, 340)

    assert len({(record.partition, record.offset) for record in seen}) == 400
    granted, refused = consumer.claim(seen)
    assert (set(granted), refused) == (set(seen), [])


def test_leave_voids_what_is_unclaimed_and_rejoin_fetches_it(
    members: Members, send: Callable[..., None]
) -> None:
    send(8)
    consumer = members.join()
    records = fetch(consumer, 8)

    consumer.leave()
    poll_until(lambda: not consumer.status().partitions, consumer)
    assert consumer.claim(records)[0] == []
    consumer.rejoin()

    again = fetch(consumer, 8)
    assert consumer.claim(again) == (again, [])


def test_records_older_than_the_broker_keeps_offsets_are_marked_when_none_is_committed(
    members: Members, send: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    send(3, partition=0, age_ms=EIGHT_DAYS_MS)
    send(2, partition=0)
    send(2, partition=1)
    consumer = members.join()

    with caplog.at_level(logging.WARNING):
        records = fetch(consumer, 7)

    marked = [(r.partition, r.offset) for r in records if r.offset_expired]
    assert marked == [(0, 0), (0, 1), (0, 2)]
    assert "offsets_expired" in str([getattr(r, "event", "") for r in caplog.records])


def test_the_mark_of_expired_records_survives_a_restart_in_the_middle(
    members: Members, send: Callable[..., None]
) -> None:
    send(4, partition=0, age_ms=EIGHT_DAYS_MS)
    send(1, partition=0)
    first = members.join()
    first.settle(fetch(first, 5)[:2])
    first.close()

    records = fetch(members.join(), 3)

    assert [record.offset_expired for record in records] == [True, True, False]


def test_records_deleted_before_they_were_claimed_are_skipped_with_a_warning(
    members: Members,
    send: Callable[..., None],
    kafka: Kafka,
    queue: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    send(10, partition=0)
    members.write(2, "")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for answer in admin.delete_records([TopicPartition(queue, 0, 6)]).values():
        answer.result(10)

    with caplog.at_level(logging.WARNING):
        records = fetch(members.join(), 4)

    assert [record.offset for record in records] == [6, 7, 8, 9]
    assert "consumer.records_deleted" in [getattr(r, "event", "") for r in caplog.records]


def test_an_offset_beyond_the_end_never_runs_anything_again(
    members: Members, send: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    send(5, partition=0)
    members.write(50, "")
    consumer = members.join()

    with caplog.at_level(logging.ERROR):
        poll_until(
            lambda: "consumer.log_truncated" in [getattr(r, "event", "") for r in caplog.records],
            consumer,
        )
    send(1, partition=0)

    assert [record.offset for record in fetch(consumer, 1)] == [5]


def test_a_partition_with_state_of_a_newer_version_is_left_alone(
    members: Members, send: Callable[..., None]
) -> None:
    send(4)
    members.write(0, "tq9:what comes")

    records = fetch(members.join(), 3)

    assert 0 not in partitions_of(records)
    assert members.committed()[0] == 0


def test_markers_of_transactions_do_not_show_as_lag(
    members: Members, kafka: Kafka, queue: str
) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": queue})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(queue, b"x", partition=3)
    producer.commit_transaction(10)
    consumer = members.join()
    records = fetch(consumer, 1)

    consumer.claim(records)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    (end,) = admin.list_offsets({TopicPartition(queue, 3): OffsetSpec.latest()}).values()

    poll_until(lambda: members.committed()[3] == end.result(10).offset, consumer)


def test_markers_that_were_seen_while_a_task_ran_do_not_show_as_lag_once_it_has_ended(
    members: Members, kafka: Kafka, queue: str
) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": queue})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(queue, b"x", partition=3)
    producer.commit_transaction(10)
    consumer = members.join()
    (record,) = fetch(consumer, 1)
    consumer.claim([record], start=[record])
    # The end of the partition is told once, and the record's task is at work then.
    owned = consumer._membership.assignment.get(3)
    poll_until(lambda: owned is not None and owned.position > record.offset + 1, consumer)

    consumer.settle([record])

    poll_until(lambda: members.committed()[3] == record.offset + 2, consumer)


def test_a_transaction_that_holds_up_a_partition_is_named_once(
    members: Members,
    kafka: Kafka,
    queue: str,
    send: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = HeldWatch(patience=0.1, every=0.02)
    monkeypatch.setattr("taskq_kafka.membership.HeldWatch", lambda: watch)
    consumer = members.join()
    send(PARTITIONS)
    fetch(consumer, PARTITIONS)
    other = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": queue})
    other.init_transactions(10)
    other.begin_transaction()
    other.produce(queue, b"x", partition=3)
    assert other.flush(10) == 0
    send(1, partition=3)

    def said() -> list[tuple[int, int]]:
        return [
            (vars(each)["partition"], vars(each)["offset"])
            for each in caplog.records
            if vars(each).get("event") == "consumer.held_up"
        ]

    poll_until(lambda: bool(said()), consumer)
    other.abort_transaction(10)
    behind = fetch(consumer, 1)

    assert said() == [(3, 1)]
    assert [(record.partition, record.offset) for record in behind] == [(3, 2)]


def test_a_member_that_does_not_poll_in_time_is_refused_and_goes_on_afterwards(
    kafka: Kafka, queue: str, group: str, protocol: str, send: Callable[..., None]
) -> None:
    kafka.create_topic(queue, partitions=PARTITIONS)
    send(8)
    options = TransportOptions(
        bootstrap=kafka.bootstrap,
        group=group,
        group_protocol=protocol,
        kafka={"max.poll.interval.ms": "6000"},
    )
    events: list[RebalanceEvent] = []
    consumer = QueueConsumer(
        options, queue, groups=Groups(options), tags=itertools.count(1), on_rebalance=events.append
    )
    try:
        batch = fetch(consumer, 8)
        other = Members(kafka.bootstrap, queue, group, protocol)
        heir = other.join()
        inherited = fetch(heir, 8)
        heir.claim(inherited)

        granted, refused = consumer.claim(batch)

        assert (granted, len(refused)) == ([], 8)
        poll_until(lambda: any(event.kind == "assigned" for event in events[1:]), consumer, heir)
        other.close()
    finally:
        consumer.close()
