from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.memory.log import Entry, Member, Topic, spread
from taskq.memory.murmur2 import murmur2, partition_of
from taskq_kafka.records import Record

PARTITIONS = 4


def topic_with(count: int, *, partitions: int = PARTITIONS) -> Topic:
    topic = Topic(partitions)
    for number in range(count):
        topic.append(Entry(number, None, b"%d" % number, ()))
    return topic


def joined(topic: Topic, group: str = "group") -> Member:
    member = Member(topic.group(group), "queue")
    member.group.join(member)
    return member


def values(records: list[Record]) -> list[bytes | None]:
    return [record.value for record in records]


@pytest.mark.parametrize(
    ("text", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_are_hashed_as_kafkas_own_tests_have_it(text: bytes, signed: int) -> None:
    assert murmur2(text) == signed % 2**32


def test_one_key_goes_to_one_partition_and_none_goes_round() -> None:
    topic = Topic(PARTITIONS)
    for key in (b"a", b"a", None, None, None, None):
        topic.append(Entry(0, key, b"", ()))

    counts = [partition.end for partition in topic.partitions]

    assert sorted(counts) == [1, 1, 1, 3]
    assert counts[partition_of(b"a", PARTITIONS)] == 3


def test_the_only_member_gets_every_partition_and_all_records_in_turn() -> None:
    member = joined(topic_with(6))

    taken = member.take(5) + member.take(5)

    assert values(taken) == [b"%d" % number for number in range(6)]
    assert [event.partitions for event in member.hear()] == [(0, 1, 2, 3)]


def test_what_is_in_flight_is_not_taken_again() -> None:
    member = joined(topic_with(2))

    member.take(2)

    assert member.take(2) == []


def test_a_joining_member_voids_what_the_first_had_in_flight_of_its_partitions() -> None:
    topic = topic_with(4)
    first = joined(topic)
    records = first.take(4)

    second = joined(topic)
    granted = first.settle(records)

    assert {record.partition for record in granted} == set(first.holds)
    assert {record.partition for record in second.take(10)} == set(second.holds)
    assert [event.kind for event in first.hear()] == ["assigned", "revoked"]


def test_a_partition_that_comes_back_has_a_new_epoch() -> None:
    topic = topic_with(4)
    first = joined(topic)
    records = first.take(4)

    second = joined(topic)
    second.group.leave(second)

    lost = [record for record in records if not first.has(record)]
    assert len(lost) == 2
    assert first.settle(lost) == []
    assert len(first.take(10)) == 2


def test_a_member_more_than_partitions_is_told_that_it_has_none() -> None:
    topic = topic_with(0, partitions=1)
    joined(topic)

    idle = joined(topic)

    assert [(event.kind, event.partitions) for event in idle.hear()] == [("assigned", ())]
    assert idle.is_assigned


def test_who_leaves_holds_nothing_and_takes_nothing() -> None:
    member = joined(topic_with(4))
    records = member.take(2)

    member.group.leave(member)

    assert member.settle(records) == []
    assert member.take(10) == []
    assert not member.is_joined


def test_settling_out_of_order_leaves_the_first_waiting() -> None:
    topic = topic_with(3, partitions=1)
    member = joined(topic)
    records = member.take(3)

    member.settle(records[1:])

    assert member.group.lag() == 1
    assert member.group.oldest_ms() == 0
    assert member.group.progress[0].next_offset == 0


def test_a_heir_takes_only_what_was_not_settled() -> None:
    topic = topic_with(3, partitions=1)
    member = joined(topic)
    member.settle(member.take(3)[1:])
    member.group.leave(member)

    assert values(joined(topic).take(10)) == [b"0"]


def test_what_is_given_back_comes_first_and_says_so() -> None:
    topic = topic_with(3, partitions=1)
    member = joined(topic)
    first, _ = member.take(2)

    member.give_back([first], redelivered=True)

    assert [(record.offset, record.redelivered) for record in member.take(10)] == [
        (0, True),
        (2, False),
    ]


def test_groups_do_not_know_of_one_another() -> None:
    topic = topic_with(2)
    one, other = joined(topic, "one"), joined(topic, "other")

    one.settle(one.take(2))

    assert (one.group.lag(), other.group.lag()) == (0, 2)
    assert len(other.take(10)) == 2


def test_a_purge_takes_all_that_waits_and_leaves_what_is_in_flight() -> None:
    topic = topic_with(4, partitions=1)
    member = joined(topic)
    record, given_back = member.take(2)
    member.give_back([given_back], redelivered=False)

    topic.purge()
    topic.append(Entry(9, None, b"new", ()))

    assert member.settle([record]) == [record]
    assert values(member.take(10)) == [b"new"]
    assert member.group.lag() == 1


@given(
    st.integers(1, 12).flatmap(
        lambda count: st.tuples(
            st.just(count), st.lists(st.integers(0, 4), min_size=count, max_size=count)
        )
    )
)
def test_shares_are_whole_even_and_kept_where_they_can_be(case: tuple[int, list[int]]) -> None:
    partitions, owners = case
    held = [{p for p, owner in enumerate(owners) if owner == index} for index in range(5)]

    shares = spread(partitions, held)

    assert sorted(number for share in shares for number in share) == list(range(partitions))
    sizes = sorted(len(share) for share in shares)
    assert sizes[-1] - sizes[0] <= 1
    for has, share in zip(held, shares, strict=True):
        assert share <= has or has <= share


@given(st.lists(st.tuples(st.sampled_from("jlfsbp"), st.integers(0, 7)), max_size=60))
def test_no_record_is_granted_twice_and_none_is_lost(steps: list[tuple[str, int]]) -> None:
    """Members join, leave, fetch, settle and give back in any order; in the end one member takes the rest."""
    topic = topic_with(20)
    members: list[Member] = []
    in_hand: list[tuple[Member, Record]] = []
    granted: list[bytes | None] = []
    for step, number in steps:
        if step == "j":
            members.append(joined(topic))
        elif step == "l" and members:
            member = members.pop(number % len(members))
            member.group.leave(member)
        elif step == "f" and members:
            member = members[number % len(members)]
            in_hand += [(member, record) for record in member.take(number)]
        elif step == "s" and in_hand:
            member, record = in_hand.pop(number % len(in_hand))
            granted += values(member.settle([record]))
        elif step == "b" and in_hand:
            member, record = in_hand.pop(number % len(in_hand))
            member.give_back([record], redelivered=False)
    for member in members:
        member.group.leave(member)

    last = joined(topic)
    granted += values(last.settle(last.take(100)))

    assert sorted(granted, key=lambda value: int(value or b"")) == [b"%d" % n for n in range(20)]
    assert last.group.lag() == 0
