"""Moving records from a queue to a log (`IntakeChannel.move`), and following a log, on every broker."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from taskq.protocols import IntakeChannel, Record
from taskq.timing.shards import LogRecord, Write
from tests.support.brokers import PATIENCE, Broker, fetch, has_nothing, listening, tags, values
from tests.support.waiting import Deadline

LOG = "taskq.timers"
KEY = b"one partition"


@pytest.fixture
def log_broker(broker: Broker, queue: str) -> Broker:
    """A broker with logs of this test's own, behind a prefix."""
    broker.prefix = f"{queue}."
    broker.logs.check(LOG, timeout=PATIENCE)
    return broker


def writes_of(records: Sequence[Record]) -> list[Write]:
    return [
        Write(
            LOG, b"id", b"id/%d-%d" % (record.partition, record.offset), record.value, [("h", b"v")]
        )
        for record in records
    ]


def stored(broker: Broker) -> list[LogRecord]:
    return list(broker.logs.read(LOG, timeout=PATIENCE))


def moved_after_all(channel: IntakeChannel, records: Sequence[Record]) -> int:
    """Move records, and those that were refused when they come again; return how many tries were refused."""
    left, tries = list(records), 0
    deadline = Deadline(PATIENCE)
    while left:
        assert not deadline.is_over
        granted, refused = channel.move(tags(left), writes_of(left))
        assert {*granted, *refused} == set(tags(left))
        tries += bool(refused)
        left = fetch(channel, len(refused)) if refused else []
    return tries


def test_a_moved_record_stands_in_the_log_once_and_never_comes_again(
    log_broker: Broker, queue: str
) -> None:
    log_broker.send(queue, b"a", b"b", b"c", key=KEY)
    channel = listening(log_broker, queue)
    records = fetch(channel, 3)

    moved_after_all(channel, [records[1]])
    channel.close()
    heir = listening(log_broker, queue)

    assert values(fetch(heir, 2)) == [b"a", b"c"]
    assert has_nothing(heir)
    [record] = stored(log_broker)
    assert (record.value, list(record.headers)) == (b"b", [("h", b"v")])


def test_after_a_first_refusal_moves_succeed_at_once(log_broker: Broker, queue: str) -> None:
    channel = listening(log_broker, queue)
    log_broker.send(queue, b"a")
    moved_after_all(channel, fetch(channel, 1))
    log_broker.send(queue, b"b", b"c")

    assert moved_after_all(channel, fetch(channel, 2)) == 0

    assert len(stored(log_broker)) == 3


def test_what_was_claimed_cannot_be_moved(log_broker: Broker, queue: str) -> None:
    log_broker.send(queue, b"a")
    channel = listening(log_broker, queue)
    records = fetch(channel, 1)
    channel.claim(tags(records))

    granted, refused = channel.move(tags(records), writes_of(records))

    assert (list(granted), list(refused)) == ([], tags(records))
    assert stored(log_broker) == []


def test_moves_and_claims_of_one_partition_leave_the_rest(log_broker: Broker, queue: str) -> None:
    log_broker.send(queue, *[b"%d" % number for number in range(6)], key=KEY)
    channel = listening(log_broker, queue)
    records = fetch(channel, 6)

    channel.claim(tags([records[1], records[5]]))
    moved_after_all(channel, [records[0], records[3]])
    channel.close()
    heir = listening(log_broker, queue)

    assert values(fetch(heir, 2)) == [b"2", b"4"]
    assert has_nothing(heir)
    assert sorted(record.value or b"" for record in stored(log_broker)) == [b"0", b"3"]


def test_what_another_member_has_taken_over_is_not_moved(log_broker: Broker, queue: str) -> None:
    channel = listening(log_broker, queue)
    log_broker.send(queue, b"first")
    moved_after_all(channel, fetch(channel, 1))
    log_broker.send(queue, *[b"%d" % number for number in range(40)])
    records = fetch(channel, 40)
    other = listening(log_broker, queue, channel)

    granted, refused = channel.move(tags(records), writes_of(records))
    theirs = fetch(other, 1)

    assert theirs
    assert theirs[0].value not in [
        record.value for record in records if record.delivery_tag in set(granted)
    ]
    assert len(stored(log_broker)) == len(granted) + 1
    assert len(granted) + len(refused) == 40


def test_a_follower_gives_what_stood_there_and_then_what_comes(log_broker: Broker) -> None:
    def written(name: bytes) -> None:
        assert log_broker.logs.append([Write(LOG, name, name, b"{}")], timeout=PATIENCE) == [None]

    written(b"old")
    follower = log_broker.logs.follow(LOG)
    seen: list[bytes] = []
    deadline = Deadline(PATIENCE)
    while not follower.is_caught_up:
        assert not deadline.is_over
        seen += [record.key for record in follower.fetch(0.1)]
    assert seen == [b"old"]

    written(b"new")
    while len(seen) < 2:
        assert not deadline.is_over
        seen += [record.key for record in follower.fetch(0.1)]
    follower.close()

    assert seen == [b"old", b"new"]


def test_a_follower_of_a_log_that_nobody_has_written_to_is_caught_up(
    broker: Broker, queue: str
) -> None:
    broker.prefix = f"{queue}."
    follower = broker.logs.follow("taskq.revoked")

    assert follower.fetch(0.1) == []

    assert follower.is_caught_up
    follower.close()
