"""Records that are settled in another order than they were started, on a broker, with all that a commit can hold."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest

from taskq.protocols import IntakeChannel, Record
from tests.support.brokers import Broker, fetch, has_nothing, listening, tags, values
from tests.support.kafka import Kafka

KEY = b"one partition"
MANY = 10_000
SCATTERED = 40_000
"""Records of which every other one settled does not fit a commit: 4,095 characters hold a bit for each of 24,000."""


@pytest.fixture
def broker(kafka: Kafka, group: str) -> Iterator[Broker]:
    broker = Broker("kafka", kafka.bootstrap, group)
    yield broker
    broker.close()


def send(broker: Broker, queue: str, count: int) -> None:
    broker.send(queue, *(b"%d" % number for number in range(count)), key=KEY)


def start(channel: IntakeChannel, records: Sequence[Record]) -> None:
    granted, _ = channel.claim(tags(records), start=set(tags(records)))
    assert len(granted) == len(records)


def test_after_a_restart_only_what_had_not_finished_runs_again(broker: Broker, queue: str) -> None:
    send(broker, queue, MANY)
    first = listening(broker, queue)
    records = fetch(first, MANY)
    start(first, records)
    never, *others = records
    random.Random(7).shuffle(others)
    finished, left = others[:6000], others[6000:]

    for place in range(0, len(finished), 500):
        first.settle(tags(finished[place : place + 500]))
        first.commit()
    first.close()
    second = listening(broker, queue)
    again = fetch(second, 1 + len(left))
    start(second, again)
    rest = [record for record in again if record.offset != never.offset]
    random.Random(8).shuffle(rest)
    for place in range(0, len(rest), 500):
        second.settle(tags(rest[place : place + 500]))
        second.commit()
    second.close()
    third = listening(broker, queue)
    [last] = fetch(third, 1)

    assert set(values(again)) == set(values([never, *left]))
    assert (last.value, last.deliveries) == (never.value, 2)
    assert has_nothing(third)


def test_the_most_that_a_commit_holds_stops_the_partition_until_it_is_less(
    broker: Broker, queue: str
) -> None:
    send(broker, queue, SCATTERED)
    channel = listening(broker, queue)
    records = fetch(channel, SCATTERED)
    at_work: list[Record] = []
    refused: Sequence[int] = ()
    place = 0

    while not refused:
        part = records[place : place + 500]
        late = {record.delivery_tag for record in part if record.offset % 5 in (0, 2)}
        granted, refused = channel.claim(tags(part), start=late)
        at_work += [record for record in part if record.delivery_tag in late & set(granted)]
        place += len(granted)
    blocked = channel.status().blocked
    nothing_came = has_nothing(channel)
    channel.settle(tags(at_work))
    channel.commit()
    freed = channel.status().blocked
    rest = fetch(channel, 500)

    assert place > 20_000
    assert list(blocked.values()) == [records[0].offset]
    assert nothing_came
    assert not freed
    assert rest[0].offset == records[place].offset
