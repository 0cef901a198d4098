"""What a transport carries beside its channels (`taskq.protocols.Publisher` and `Admin`), on every broker."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest

from taskq.protocols import DeadLetter, Outgoing, Record
from tests.support.brokers import (
    PATIENCE,
    Broker,
    fetch,
    has_nothing,
    listening,
    tags,
    values,
)
from tests.support.ports import reserve_port
from tests.support.waiting import wait_until

REASON = ("dlq-reason", b"failed")


def status_of(broker: Broker, queue: str) -> Any:
    [status] = broker.admin.queue_status([queue], group=broker.group, timeout=PATIENCE)
    return status


def letters_of(broker: Broker, queue: str) -> list[Any]:
    return list(broker.admin.dead_letters(queue, timeout=PATIENCE))


def fetched(broker: Broker, queue: str, *outgoing: Outgoing) -> list[Record]:
    """Publish records and fetch them."""
    errors = broker.publisher.publish(outgoing, timeout=PATIENCE)
    assert list(errors) == [None] * len(outgoing)
    return fetch(listening(broker, queue), len(outgoing))


def test_each_message_gets_its_own_answer(broker: Broker, queue: str) -> None:
    outgoing = [
        Outgoing(queue, b"first", ()),
        Outgoing("no such name!", b"", ()),
        Outgoing(queue, b"last", ()),
    ]

    first, wrong, last = broker.publisher.publish(outgoing, timeout=PATIENCE)

    assert (first, last) == (None, None)
    assert isinstance(wrong, ValueError)
    assert getattr(wrong, "sent", None) is False
    assert values(fetch(listening(broker, queue), 2)) == [b"first", b"last"]


def test_nothing_is_published_without_messages(broker: Broker) -> None:
    assert list(broker.publisher.publish([], timeout=PATIENCE)) == []


def test_one_call_may_publish_to_several_queues(broker: Broker, queue: str) -> None:
    other = queue + "-other"
    outgoing = [Outgoing(queue, b"here", ()), Outgoing(other, b"there", ())]

    assert list(broker.publisher.publish(outgoing, timeout=PATIENCE)) == [None, None]

    assert values(fetch(listening(broker, queue), 1)) == [b"here"]
    assert values(fetch(listening(broker, other), 1)) == [b"there"]


def test_a_record_that_is_too_large_was_not_sent(broker: Broker, queue: str) -> None:
    broker.needs("record size")

    [error] = broker.publisher.publish([Outgoing(queue, bytes(2_000_000), ())], timeout=PATIENCE)

    assert isinstance(error, ValueError)
    assert getattr(error, "sent", None) is False


def test_a_missing_queue_is_an_error_where_queues_are_not_made(broker: Broker, queue: str) -> None:
    broker.needs("missing topics")
    publisher = broker.connect(auto_create=False).transport.publisher

    [error] = publisher.publish([Outgoing(queue, b"", ())], timeout=PATIENCE)

    assert isinstance(error, LookupError)
    assert getattr(error, "sent", None) is False
    assert queue not in broker.admin.queues(timeout=PATIENCE)


def test_publishing_without_a_broker_fails_within_its_time(broker: Broker, queue: str) -> None:
    broker.needs("network")
    port = reserve_port()
    dead = Broker(broker.kind, f"127.0.0.1:{port.number}", broker.group)
    publisher = dead.connect(publish_timeout=1).transport.publisher

    [error] = publisher.publish([Outgoing(queue, b"", ())], timeout=1)

    assert error is not None
    port.release()


def test_a_check_without_a_broker_names_the_address(broker: Broker) -> None:
    broker.needs("network")
    port = reserve_port()
    address = f"127.0.0.1:{port.number}"

    with pytest.raises(ConnectionError, match=address):
        Broker(broker.kind, address, broker.group).admin.check(timeout=1)

    port.release()


def test_a_check_of_a_broker_returns(broker: Broker) -> None:
    broker.admin.check(timeout=PATIENCE)


def test_a_queue_that_was_made_is_listed_and_may_be_made_again(broker: Broker, queue: str) -> None:
    broker.admin.create_queue(queue, timeout=PATIENCE)
    broker.admin.create_queue(queue, timeout=PATIENCE)

    wait_until(lambda: queue in broker.admin.queues(timeout=PATIENCE), timeout=PATIENCE, what=queue)
    names = list(broker.admin.queues(timeout=PATIENCE))
    assert names == sorted(names)
    assert status_of(broker, queue).partitions == broker.partitions


def test_looking_for_priority_steps_makes_none_and_finds_those_that_were_used(
    broker: Broker, queue: str
) -> None:
    sources = [f"{queue}.p9", f"{queue}.p3", queue]
    assert list(broker.admin.existing(sources, timeout=PATIENCE)) == []
    assert list(broker.admin.existing(sources, timeout=PATIENCE)) == []

    broker.publisher.publish([Outgoing(f"{queue}.p9", b"v", ())], timeout=PATIENCE)

    wait_until(
        lambda: list(broker.admin.existing(sources, timeout=PATIENCE)) == sources[:1],
        timeout=PATIENCE,
        what="the step",
    )
    assert queue in broker.admin.queues(timeout=PATIENCE)
    assert f"{queue}.p9" not in broker.admin.queues(timeout=PATIENCE)
    assert f"{queue}.p9" in broker.admin.sources(timeout=PATIENCE)


def test_the_number_of_partitions_is_an_option(broker: Broker, queue: str) -> None:
    broker.needs("partitions")
    broker.connect(partitions=3).transport.admin.create_queue(queue, timeout=PATIENCE)

    assert status_of(broker, queue).partitions == 3


def test_only_queues_of_the_own_prefix_are_listed_without_it(broker: Broker, queue: str) -> None:
    admin = broker.connect(prefix="stage.").transport.admin
    broker.admin.create_queue(queue, timeout=PATIENCE)
    admin.create_queue(queue + "-2", timeout=PATIENCE)

    wait_until(lambda: queue + "-2" in admin.queues(timeout=PATIENCE), timeout=PATIENCE, what=queue)
    assert queue not in admin.queues(timeout=PATIENCE)


def test_the_lag_counts_what_nobody_has_claimed(broker: Broker, queue: str) -> None:
    sent = [b"%d" % number for number in range(10)]
    broker.send(queue, *sent, key=b"one partition")
    before = status_of(broker, queue)
    channel = listening(broker, queue)
    records = fetch(channel, 10)

    channel.claim(tags(records[:3]))
    some = status_of(broker, queue)
    channel.claim(tags(records[4:]))
    one = status_of(broker, queue)
    channel.claim(tags(records[3:4]))
    none = status_of(broker, queue)

    assert [status.lag for status in (before, some, one, none)] == [10, 7, 1, 0]
    assert before.oldest_age is not None
    assert 0 <= before.oldest_age < 60
    assert none.oldest_age is None


def test_the_members_that_hold_a_partition_are_counted(broker: Broker, queue: str) -> None:
    broker.needs("members")
    broker.admin.create_queue(queue, timeout=PATIENCE)
    before = status_of(broker, queue).workers
    channel = listening(broker, queue)

    during = status_of(broker, queue).workers
    channel.close()

    assert (before, during) == (0, 1)
    assert wait_until(
        lambda: status_of(broker, queue).workers == 0, timeout=PATIENCE, what="the member to go"
    )


def test_a_queue_that_does_not_exist_has_no_status(broker: Broker, queue: str) -> None:
    broker.needs("missing topics")
    broker.admin.create_queue(queue, timeout=PATIENCE)

    statuses = broker.admin.queue_status(
        [queue + "-missing", queue], group=broker.group, timeout=PATIENCE
    )

    assert [status.queue for status in statuses] == [queue]


def test_partitions_of_queues_are_counted_and_missing_ones_left_out(
    broker: Broker, queue: str
) -> None:
    broker.needs("missing topics")
    broker.admin.create_queue(queue, timeout=PATIENCE)

    counts = broker.admin.partition_counts([queue + "-missing", queue], timeout=PATIENCE)

    assert counts == {queue: broker.partitions}


def test_workers_are_counted_by_the_partitions_they_hold(broker: Broker, queue: str) -> None:
    broker.needs("members")
    broker.admin.create_queue(queue, timeout=PATIENCE)

    before = broker.admin.worker_counts([queue], group=broker.group, timeout=PATIENCE)
    channel = listening(broker, queue)
    during = broker.admin.worker_counts([queue], group=broker.group, timeout=PATIENCE)

    assert (before, during) == ({queue: 0}, {queue: 1})
    channel.close()


def test_a_dead_letter_stands_byte_for_byte_with_its_reasons_behind(
    broker: Broker, queue: str
) -> None:
    headers = [("task", b"t"), ("twice", b"1"), ("twice", b"\xff\x00"), ("empty", b"")]
    [record] = fetched(broker, queue, Outgoing(queue, b"\x00\xffvalue", headers))
    added = [REASON, ("dlq-error", "Fehler: ü".encode()), ("not-ours", b"left out")]

    errors = broker.publisher.dead_letters([DeadLetter(record, added)], timeout=PATIENCE)

    assert list(errors) == [None]
    [letter] = letters_of(broker, queue)
    assert letter.id == f"{queue}/{record.partition}/{record.offset}"
    assert (letter.queue, letter.value) == (queue, b"\x00\xffvalue")
    assert list(letter.headers) == [*headers, *added[:2]]
    assert letter.timestamp_ms >= record.timestamp_ms > 0


def test_dead_letters_of_a_priority_step_are_the_queues(broker: Broker, queue: str) -> None:
    step = f"{queue}.p6"
    [record] = fetched(broker, step, Outgoing(step, b"v", ()))

    broker.publisher.dead_letters([DeadLetter(record, [REASON])], timeout=PATIENCE)

    [letter] = letters_of(broker, queue)
    assert letter.id == f"{step}/{record.partition}/{record.offset}"
    assert letter.queue == queue
    assert list(broker.admin.dead_letter_queues(timeout=PATIENCE)).count(queue) == 1


def test_a_dead_letter_keeps_the_key_of_its_record(broker: Broker, queue: str) -> None:
    [record] = fetched(broker, queue, Outgoing(queue, b"v", (), b"\xffkey"))

    broker.publisher.dead_letters([DeadLetter(record, [REASON])], timeout=PATIENCE)

    [letter] = letters_of(broker, queue)
    assert dict(letter.headers)["dlq-source-key"] == b"\xffkey"


def test_a_record_without_value_is_no_tombstone_among_the_dead_letters(
    broker: Broker, queue: str
) -> None:
    [record] = fetched(broker, queue, Outgoing(queue, b"", [("empty", b"")]))
    nothing = RecordLike(record, value=None, headers=(("none", None),))

    broker.publisher.dead_letters([DeadLetter(nothing, [REASON])], timeout=PATIENCE)

    [letter] = letters_of(broker, queue)
    assert letter.value is None
    assert list(letter.headers) == [("none", None), REASON, ("dlq-null-value", b"true")]


def test_an_empty_value_is_not_taken_for_none(broker: Broker, queue: str) -> None:
    [record] = fetched(broker, queue, Outgoing(queue, b"", ()))

    broker.publisher.dead_letters([DeadLetter(record, [REASON])], timeout=PATIENCE)

    [letter] = letters_of(broker, queue)
    assert letter.value == b""


def test_a_dead_letter_that_is_written_twice_is_one(broker: Broker, queue: str) -> None:
    one, other = fetched(broker, queue, Outgoing(queue, b"1", ()), Outgoing(queue, b"2", ()))
    for attempt in (b"1", b"2"):
        reason = [("dlq-attempts", attempt)]
        broker.publisher.dead_letters(
            [DeadLetter(one, reason), DeadLetter(other, reason)], timeout=PATIENCE
        )

    letters = letters_of(broker, queue)

    assert sorted(letter.value for letter in letters) == [b"1", b"2"]
    assert {dict(letter.headers)["dlq-attempts"] for letter in letters} == {b"2"}


def test_dead_letters_come_oldest_first(broker: Broker, queue: str) -> None:
    records = fetched(broker, queue, *[Outgoing(queue, b"%d" % n, ()) for n in range(8)])
    for record in records:
        broker.publisher.dead_letters([DeadLetter(record, [REASON])], timeout=PATIENCE)

    letters = letters_of(broker, queue)

    stamps = [letter.timestamp_ms for letter in letters]
    assert stamps == sorted(stamps)
    for _, same in groupby(letters, key=lambda letter: letter.timestamp_ms):
        ids = [letter.id for letter in same]
        assert ids == sorted(ids)
    assert len(letters) == 8


def test_a_dead_letter_leaves_its_record_in_the_queue(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a")
    channel = listening(broker, queue)
    [record] = fetch(channel, 1)

    broker.publisher.dead_letters([DeadLetter(record, [REASON])], timeout=PATIENCE)

    assert status_of(broker, queue).lag == 1
    channel.settle(tags([record]))
    assert has_nothing(channel)
    assert status_of(broker, queue).lag == 0


def test_queues_with_dead_letters_are_listed_apart(broker: Broker, queue: str) -> None:
    [record] = fetched(broker, queue, Outgoing(queue, b"a", ()))
    broker.publisher.dead_letters([DeadLetter(record, [REASON])], timeout=PATIENCE)

    wait_until(
        lambda: queue in broker.admin.dead_letter_queues(timeout=PATIENCE),
        timeout=PATIENCE,
        what="the dead letters' topic",
    )
    assert not [name for name in broker.admin.queues(timeout=PATIENCE) if name.endswith(".dlq")]


def test_a_queue_without_dead_letters_has_none(broker: Broker, queue: str) -> None:
    broker.admin.create_queue(queue, timeout=PATIENCE)

    assert letters_of(broker, queue) == []


class RecordLike:
    """A fetched record of which a test changes something that no publisher writes."""

    def __init__(self, record: Record, **changes: Any) -> None:
        self._record = record
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        return self._changes.get(name, getattr(self._record, name))
