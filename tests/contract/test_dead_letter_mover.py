"""Moving dead letters (`taskq.protocols.DeadLetterMover`): what stands afterwards, on every broker."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from taskq.protocols import (
    DeadLetter,
    DeadLetterMover,
    Record,
    Removal,
    ReturnedRecord,
    StoredDeadLetter,
)
from taskq_kafka.records import Record as SourceRecord
from tests.support.brokers import PATIENCE, Broker, fetch, has_nothing, listening, values


def put_aside(broker: Broker, queue: str, *values: bytes | None) -> None:
    sources: list[Record] = [
        SourceRecord(queue, 0, offset, 0, b"key", value, [("own", b"\xff")])
        for offset, value in enumerate(values)
    ]
    letters = [DeadLetter(source, [("dlq-reason", b"failed")]) for source in sources]
    errors = broker.publisher.dead_letters(letters, timeout=PATIENCE)
    assert list(errors) == [None] * len(values)


def stored(broker: Broker, queue: str) -> list[StoredDeadLetter]:
    return list(broker.admin.dead_letters(queue, timeout=PATIENCE))


def mover_of(broker: Broker, queue: str) -> DeadLetterMover:
    return broker.admin.move_dead_letters(queue, timeout=PATIENCE)


def back(letters: Sequence[StoredDeadLetter], to: str | None = None) -> list[Removal]:
    return [
        Removal(
            letter,
            [("dlq-action", b"redriven")],
            ReturnedRecord(to or letter.queue, letter.value, [("own", b"\xff")], b"key"),
        )
        for letter in letters
    ]


def test_a_letter_is_in_its_queue_afterwards_and_no_letter_any_more(
    broker: Broker, queue: str
) -> None:
    put_aside(broker, queue, b"\x00a", b"b")
    mover = mover_of(broker, queue)

    first, second = mover.letters(timeout=PATIENCE)
    assert mover.move(back([first]), timeout=PATIENCE)

    assert stored(broker, queue) == [second]
    assert list(mover.letters(timeout=PATIENCE)) == [second]
    channel = listening(broker, queue)
    [record] = fetch(channel, 1)
    assert (record.value, record.key) == (first.value, b"key")
    assert list(record.headers) == [("own", b"\xff")]
    assert has_nothing(channel)
    mover.close()


def test_a_record_without_value_goes_back_without_value(broker: Broker, queue: str) -> None:
    put_aside(broker, queue, None)
    mover = mover_of(broker, queue)

    assert mover.move(back(list(mover.letters(timeout=PATIENCE))), timeout=PATIENCE)

    [record] = fetch(listening(broker, queue), 1)
    assert record.value is None
    mover.close()


def test_what_is_discarded_is_gone(broker: Broker, queue: str) -> None:
    put_aside(broker, queue, b"a", b"b")
    mover = mover_of(broker, queue)

    removals = [Removal(letter) for letter in mover.letters(timeout=PATIENCE)]
    assert mover.move(removals, timeout=PATIENCE)

    assert stored(broker, queue) == []
    assert has_nothing(listening(broker, queue))
    mover.close()


def test_many_go_back_each_once(broker: Broker, queue: str) -> None:
    put_aside(broker, queue, *(b"%d" % number for number in range(250)))
    mover = mover_of(broker, queue)
    removals = back(list(mover.letters(timeout=PATIENCE)))

    for first in range(0, 250, 100):
        assert mover.move(removals[first : first + 100], timeout=PATIENCE)

    channel = listening(broker, queue)
    assert values(fetch(channel, 250)) == sorted(b"%d" % number for number in range(250))
    assert has_nothing(channel)
    assert stored(broker, queue) == []
    mover.close()


def test_letters_go_to_another_queue_which_is_made(broker: Broker, queue: str) -> None:
    put_aside(broker, queue, b"a")
    mover = mover_of(broker, queue)

    removals = back(list(mover.letters(timeout=PATIENCE)), to=f"{queue}-other")
    assert mover.move(removals, timeout=PATIENCE)

    assert values(fetch(listening(broker, f"{queue}-other"), 1)) == [b"a"]
    mover.close()


def test_who_comes_last_moves_alone(broker: Broker, queue: str) -> None:
    broker.needs("fencing")
    put_aside(broker, queue, b"a")
    earlier = mover_of(broker, queue)
    letters = list(earlier.letters(timeout=PATIENCE))
    later = mover_of(broker, queue)

    assert not earlier.move(back(letters), timeout=PATIENCE)

    assert stored(broker, queue) == letters
    assert later.move(back(letters), timeout=PATIENCE)
    channel = listening(broker, queue)
    assert values(fetch(channel, 1)) == [b"a"]
    assert has_nothing(channel)
    earlier.close()
    later.close()


def test_movers_of_two_queues_do_not_disturb_each_other(broker: Broker, queue: str) -> None:
    other = f"{queue}-other"
    put_aside(broker, queue, b"a")
    put_aside(broker, other, b"b")
    mover, another = mover_of(broker, queue), mover_of(broker, other)

    assert mover.move(back(stored(broker, queue)), timeout=PATIENCE)
    assert another.move(back(stored(broker, other)), timeout=PATIENCE)

    assert stored(broker, queue) == stored(broker, other) == []
    mover.close()
    another.close()


def test_one_record_that_is_too_large_keeps_its_whole_transaction_back(
    broker: Broker, queue: str
) -> None:
    broker.needs("record size")
    put_aside(broker, queue, b"a", b"b")
    mover = mover_of(broker, queue)
    good, bad = back(list(mover.letters(timeout=PATIENCE)))
    assert bad.record is not None
    record = ReturnedRecord(queue, random.Random(7).randbytes(2_000_000), ())

    with pytest.raises(ValueError):  # noqa: PT011 - the Protocol names no other type
        mover.move([good, Removal(bad.letter, (), record)], timeout=PATIENCE)

    assert len(stored(broker, queue)) == 2
    assert mover.move([good], timeout=PATIENCE)
    channel = listening(broker, queue)
    assert values(fetch(channel, 1)) == [b"a"]
    assert has_nothing(channel)
    mover.close()


def test_a_queue_without_dead_letters_has_nothing_to_move(broker: Broker, queue: str) -> None:
    broker.admin.create_queue(queue, timeout=PATIENCE)
    mover = mover_of(broker, queue)

    assert list(mover.letters(timeout=PATIENCE)) == []
    mover.close()
