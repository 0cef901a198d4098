"""The verbs of a worker's channel (`taskq.protocols.IntakeChannel`), on every broker."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Sequence

import pytest
from kombu.exceptions import ChannelError

from taskq.memory.murmur2 import partition_of
from taskq.protocols import IntakeChannel, Outgoing, Rebalance, Record
from tests.support.brokers import (
    PATIENCE,
    Broker,
    fetch,
    fetch_until,
    has_nothing,
    listening,
    tags,
    values,
)
from tests.support.waiting import Deadline, Stopwatch, wait_until

KEY = b"one partition"
SESSION = 6.0
"""Seconds after which a silent member loses its partitions (the transport's default): what takes less was handed over."""


def claimed(channel: IntakeChannel, records: Sequence[Record]) -> list[Record]:
    """Claim records and return the granted ones."""
    granted, _ = channel.claim(tags(records))
    return [record for record in records if record.delivery_tag in set(granted)]


def one_key_each(partitions: int) -> list[bytes]:
    """Return a key for each partition: records without one may leave some of them empty."""
    found: dict[int, bytes] = {}
    for number in itertools.count():
        if len(found) == partitions:
            break
        key = b"%d" % number
        found.setdefault(partition_of(key, partitions), key)
    return [found[partition] for partition in range(partitions)]


def test_a_record_arrives_as_it_was_written(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)
    headers = [("task", b"t"), ("twice", b"1"), ("twice", b"\xff\x00"), ("empty", b"")]
    broker.publisher.publish([Outgoing(queue, b"\x00\xffvalue", headers, b"key")], timeout=PATIENCE)

    [record] = fetch(channel, 1)

    assert (record.queue, record.key, record.value) == (queue, b"key", b"\x00\xffvalue")
    assert list(record.headers) == headers
    assert record.timestamp_ms > 1_600_000_000_000
    assert not record.redelivered
    assert not record.offset_expired


def test_records_sent_before_the_group_existed_arrive(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a", b"b", b"c")

    records = fetch(listening(broker, queue), 3)

    assert values(records) == [b"a", b"b", b"c"]
    assert len(set(tags(records))) == 3


def test_a_key_decides_the_partition_as_in_java(broker: Broker, queue: str) -> None:
    keys = [b"", b"a", b"ACME", b"\xff\x00", "Ω".encode(), b"a-little-bit-long-string"]
    for key in keys:
        broker.send(queue, key, key=key)

    records = fetch(listening(broker, queue), len(keys))

    assert {record.key: record.partition for record in records} == {
        key: partition_of(key, broker.partitions) for key in keys
    }


def test_records_of_one_key_arrive_in_their_order(broker: Broker, queue: str) -> None:
    sent = [b"%03d" % number for number in range(50)]
    broker.send(queue, *sent, key=KEY)

    records = fetch(listening(broker, queue), 50)

    assert [record.value for record in records] == sent


def test_a_fetch_returns_no_more_than_its_limit(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)
    broker.send(queue, *[b"%d" % number for number in range(20)])

    counts: list[int] = []
    deadline = Deadline(PATIENCE)
    while sum(counts) < 20:
        assert not deadline.is_over
        counts.append(len(channel.fetch(3, 0.1)))

    assert max(counts) <= 3


def test_a_fetch_waits_for_the_first_record_only(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)
    broker.send(queue, b"one")

    assert values(channel.fetch(1000, PATIENCE)) == [b"one"]


def test_a_fetch_without_records_ends_with_its_timeout(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)
    watch = Stopwatch()

    assert not channel.fetch(10, 0.3)

    assert watch.seconds >= 0.2


def test_what_is_claimed_never_comes_again_and_the_rest_does(broker: Broker, queue: str) -> None:
    broker.send(queue, *[b"%d" % number for number in range(10)])
    channel = listening(broker, queue)
    records = fetch(channel, 10)

    granted, refused = channel.claim(tags(records[:6]))
    channel.close()
    heir = listening(broker, queue)

    assert (list(granted), list(refused)) == (tags(records[:6]), [])
    assert values(fetch(heir, 4)) == values(records[6:])
    assert has_nothing(heir)


def test_a_claim_does_not_settle_an_earlier_record_of_its_partition(
    broker: Broker, queue: str
) -> None:
    broker.send(queue, *[b"%d" % number for number in range(6)], key=KEY)
    channel = listening(broker, queue)
    records = fetch(channel, 6)

    channel.claim(tags([records[1], records[3], records[5]]))
    channel.close()
    heir = listening(broker, queue)

    assert values(fetch(heir, 3)) == [b"0", b"2", b"4"]
    assert has_nothing(heir)


def test_a_record_is_granted_once(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a")
    channel = listening(broker, queue)
    [tag] = tags(fetch(channel, 1))

    first, second = channel.claim([tag]), channel.claim([tag])

    assert ([*first[0]], [*first[1]]) == ([tag], [])
    assert ([*second[0]], [*second[1]]) == ([], [tag])


def test_a_tag_that_was_never_given_is_refused(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)

    granted, refused = channel.claim([12345])

    assert (list(granted), list(refused)) == ([], [12345])


def test_what_is_settled_does_not_come_again(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a", b"b", b"c", key=KEY)
    channel = listening(broker, queue)
    records = fetch(channel, 3)

    channel.settle(tags(records[1:]))
    channel.close()
    heir = listening(broker, queue)

    assert values(fetch(heir, 1)) == [b"a"]
    assert has_nothing(heir)


def test_what_is_released_comes_again_and_nothing_else(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a", b"b", b"c", key=KEY)
    channel = listening(broker, queue)
    records = fetch(channel, 3)

    channel.release(tags([records[0], records[2]]))
    again = fetch(channel, 2)

    assert values(again) == [b"a", b"c"]
    assert has_nothing(channel)
    assert not set(tags(again)) & set(tags(records))
    granted, refused = channel.claim([*tags([records[1]]), *tags(again)])
    assert (len(granted), len(refused)) == (3, 0)


def test_what_was_released_can_no_longer_be_claimed_by_its_old_tag(
    broker: Broker, queue: str
) -> None:
    broker.send(queue, b"a")
    channel = listening(broker, queue)
    [tag] = tags(fetch(channel, 1))

    channel.release([tag])

    assert channel.held([tag]) == set()
    assert list(channel.claim([tag])[1]) == [tag]


def test_a_new_member_takes_over_what_the_first_had_not_claimed(broker: Broker, queue: str) -> None:
    keys = one_key_each(broker.partitions)
    for key in keys:
        broker.send(queue, key + b"-a", key + b"-b", key=key)
    first = listening(broker, queue)
    records = fetch(first, 2 * len(keys))
    second = broker.channel()
    second.listen(queue)

    share = broker.partitions // 2
    taken_over = fetch_until(lambda: len(second.status().partitions) == share, first, second)
    held = first.held(tags(records))
    taken_over += fetch(second, len(records) - len(held) - len(taken_over), first)

    lost = [record for record in records if record.delivery_tag not in held]
    assert {record.partition for record in lost} == set(second.status().partitions)
    assert not set(first.status().partitions) & set(second.status().partitions)
    granted, refused = first.claim(tags(records))
    assert set(granted) == held
    assert set(refused) == set(tags(lost))
    assert values(taken_over) == values(lost)
    assert len(second.claim(tags(taken_over))[0]) == len(lost)


def test_no_record_is_granted_twice_while_members_come_and_go(broker: Broker, queue: str) -> None:
    sent = [b"%d" % number for number in range(60)]
    broker.send(queue, *sent)
    granted: list[bytes | None] = []
    channels = [listening(broker, queue)]
    for step in range(4):
        if step % 2:
            channels.pop(0).close()
        else:
            channels.append(listening(broker, queue, *channels))
        for channel in channels:
            records = channel.fetch(8, 0.2)
            yes = set(channel.claim(tags(records[:5]))[0])
            granted += [record.value for record in records if record.delivery_tag in yes]

        for channel in channels:
            channel.release(tags(records))

    for channel in channels:
        channel.close()
    last = listening(broker, queue)
    granted += values(claimed(last, fetch(last, 60 - len(granted))))

    assert has_nothing(last)
    assert sorted(granted, key=lambda value: value or b"") == sorted(sent)


def test_rebalances_are_told_inside_fetch(broker: Broker, queue: str) -> None:
    told: list[Rebalance] = []
    first = broker.channel()
    first.listen(queue, on_rebalance=told.append)
    assert told == []

    fetch_until(lambda: told, first)
    second = broker.channel()
    second.listen(queue)
    fetch_until(lambda: second.status().partitions, first, second)

    everything = tuple(range(broker.partitions))
    assert (told[0].kind, tuple(told[0].partitions)) == ("assigned", everything)
    gone = {number for event in told if event.kind == "revoked" for number in event.partitions}
    assert set(second.status().partitions) <= gone


def test_a_status_tells_the_place_in_the_group(broker: Broker, queue: str) -> None:
    channel = broker.channel()

    before = channel.status()
    channel.listen(queue)
    joining = channel.status()
    fetch_until(lambda: channel.status().assigned, channel)
    joined = channel.status()

    assert (before.member, before.assigned, tuple(before.partitions)) == (False, False, ())
    assert (joining.member, joining.assigned, tuple(joining.partitions)) == (True, False, ())
    assert (joined.member, joined.assigned) == (True, True)
    assert tuple(joined.partitions) == tuple(range(broker.partitions))
    assert joined.group == broker.group
    assert joined.lag == 0


def test_a_paused_channel_fetches_nothing_and_keeps_what_it_has(broker: Broker, queue: str) -> None:
    broker.send(queue, *[b"%d" % number for number in range(10)])
    channel = listening(broker, queue)
    records = fetch(channel, 4)

    channel.pause()
    silent = has_nothing(channel)
    granted, _ = channel.claim(tags(records))

    assert silent
    assert len(granted) == 4


def test_a_paused_channel_tells_what_waits(broker: Broker, queue: str) -> None:
    broker.send(queue, *[b"%d" % number for number in range(10)])
    channel = listening(broker, queue)
    fetch(channel, 4)
    channel.pause()

    assert fetch_until(lambda: channel.status().lag == 6, channel) == []


def test_a_resumed_channel_fetches_at_once(broker: Broker, queue: str) -> None:
    broker.send(queue, *[b"%d" % number for number in range(10)])
    channel = listening(broker, queue)
    fetch(channel, 4)
    channel.pause()
    assert has_nothing(channel)

    channel.resume()
    rest = fetch(channel, 6)

    assert len({record.value for record in rest}) == 6
    assert has_nothing(channel)


def test_what_is_passed_over_stays_so_through_a_pause(broker: Broker, queue: str) -> None:
    keys = one_key_each(broker.partitions)
    for key in keys:
        broker.send(queue, b"first", key=key)
    channel = listening(broker, queue)
    fetch(channel, len(keys))

    channel.pass_over([1], "letters")
    for key in keys:
        broker.send(queue, b"second", key=key)
    others = fetch(channel, len(keys) - 1)
    silent = has_nothing(channel)
    channel.pause()
    channel.resume()
    still_silent = has_nothing(channel)
    channel.pass_over([], "letters")
    [last] = fetch(channel, 1)

    assert 1 not in {record.partition for record in others}
    assert silent
    assert still_silent
    assert (last.partition, last.value) == (1, b"second")


def test_what_a_partition_gave_before_it_is_passed_over_can_be_settled(
    broker: Broker, queue: str
) -> None:
    broker.send(queue, b"a", key=KEY)
    channel = listening(broker, queue)
    [record] = fetch(channel, 1)

    channel.pass_over([record.partition], "letters")
    channel.settle(tags([record]))

    assert channel.commit()
    assert channel.held(tags([record])) == set()


def test_what_is_passed_over_waits_while_others_come(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)
    first, *others = one_key_each(broker.partitions)
    channel.pass_over([0], "keys")
    broker.send(queue, b"waits", b"waits, too", key=first)
    for key in others:
        broker.send(queue, b"comes", key=key)

    records = fetch(channel, len(others))
    assert {record.partition for record in records} == set(range(1, broker.partitions))
    assert has_nothing(channel)

    channel.pass_over([], "keys")
    assert values(fetch(channel, 2)) == [b"waits", b"waits, too"]


def test_what_is_given_back_of_a_partition_comes_when_it_is_passed_over_no_more(
    broker: Broker, queue: str
) -> None:
    channel = listening(broker, queue)
    key = one_key_each(broker.partitions)[0]
    broker.send(queue, *[b"%d" % number for number in range(6)], key=key)
    records = fetch(channel, 6)
    channel.pass_over([0], "keys")
    channel.release(tags(records[2:4]))
    assert has_nothing(channel)
    assert len(claimed(channel, records[:2])) == 2
    assert has_nothing(channel)

    channel.pass_over([], "keys")

    again = fetch(channel, 2)
    assert values(again) == [b"2", b"3"]
    assert len(claimed(channel, [*again, *records[4:]])) == 4
    assert has_nothing(channel)


def test_a_pause_and_what_is_passed_over_do_not_end_each_other(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)
    keys = one_key_each(broker.partitions)
    channel.pass_over([0], "keys")
    channel.pause()
    broker.send(queue, b"waits", key=keys[0])
    broker.send(queue, b"comes", key=keys[1])
    channel.pass_over([0, 1], "keys")
    channel.pass_over([0], "keys")
    assert has_nothing(channel)

    channel.resume()

    assert values(fetch(channel, 1)) == [b"comes"]
    assert has_nothing(channel)


def test_who_rejoins_passes_nothing_over(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)
    channel.pass_over(range(broker.partitions), "keys")
    broker.send(queue, b"a", b"b", b"c")
    channel.leave()

    channel.rejoin()

    assert set(values(fetch(channel, 3))) == {b"a", b"b", b"c"}


def test_each_reason_to_pass_a_partition_over_ends_by_itself(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)
    key = one_key_each(broker.partitions)[0]
    channel.pass_over([0], "keys")
    channel.pass_over([0], "letters")
    broker.send(queue, b"waits", key=key)

    channel.pass_over([], "keys")
    assert has_nothing(channel)
    channel.pass_over([], "letters")

    assert values(fetch(channel, 1)) == [b"waits"]


def test_who_leaves_can_claim_nothing_of_what_it_had(broker: Broker, queue: str) -> None:
    broker.send(queue, *[b"%d" % number for number in range(10)])
    channel = listening(broker, queue)
    records = fetch(channel, 10)

    channel.leave()

    status = channel.status()
    assert (status.member, status.assigned, tuple(status.partitions)) == (False, False, ())
    assert channel.held(tags(records)) == set()
    granted, refused = channel.claim(tags(records))
    assert (list(granted), len(refused)) == ([], 10)
    assert has_nothing(channel)


def test_others_take_over_from_who_leaves_and_is_silent(broker: Broker, queue: str) -> None:
    broker.send(queue, *[b"%d" % number for number in range(10)])
    first = listening(broker, queue)
    records = fetch(first, 10)
    first.claim(tags(records[:3]))

    first.leave()
    heir = listening(broker, queue)

    assert values(fetch(heir, 7)) == values(records[3:])


def test_who_rejoins_goes_on_where_it_was(broker: Broker, queue: str) -> None:
    broker.send(queue, *[b"%d" % number for number in range(10)])
    channel = listening(broker, queue)
    records = fetch(channel, 10)
    channel.claim(tags(records[:3]))
    channel.leave()

    channel.rejoin()
    again = fetch(channel, 7)

    assert values(again) == values(records[3:])
    assert has_nothing(channel)
    assert len(channel.claim(tags(again))[0]) == 7


def test_a_claim_made_before_leaving_stands(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a")
    channel = listening(broker, queue)
    channel.claim(tags(fetch(channel, 1)))

    channel.leave()

    assert has_nothing(listening(broker, queue, channel))


def test_groups_do_not_share(broker: Broker, queue: str, group: str) -> None:
    broker.send(queue, b"a", b"b")
    channel = listening(broker, queue)
    channel.claim(tags(fetch(channel, 2)))

    other = listening(broker, queue, group=group + "-other")

    assert values(fetch(other, 2)) == [b"a", b"b"]


def test_prefixes_do_not_share(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a")
    channel = listening(broker, queue, prefix="stage.")

    assert has_nothing(channel)
    broker.send("stage." + queue, b"b")

    [record] = fetch(channel, 1)
    assert (record.queue, record.value) == (queue, b"b")
    assert channel.status().group == "stage." + broker.group


def test_a_channel_listens_to_one_queue(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)

    with pytest.raises(ChannelError):
        channel.listen(queue)


def test_a_channel_that_does_not_listen_cannot_fetch(broker: Broker) -> None:
    with pytest.raises(ChannelError):
        broker.channel().fetch(1, 0)


def test_nobody_else_is_counted_where_nobody_is(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)

    assert channel.other_members() == 0


def test_members_of_other_workers_on_the_same_queue_are_counted(broker: Broker, queue: str) -> None:
    broker.needs("members")
    channel = listening(broker, queue)
    broker.admin.create_queue(queue + "-other", timeout=PATIENCE)
    poll_here, poll_elsewhere = broker.stranger(queue), broker.stranger(queue + "-other")

    def is_shared() -> bool:
        poll_here()
        poll_elsewhere()
        channel.fetch(1, 0.02)
        return len(channel.status().partitions) == broker.partitions // 2

    wait_until(is_shared, timeout=PATIENCE, what="the other member to get its share")
    wait_until(
        lambda: is_shared() and channel.other_members() == 1,
        timeout=PATIENCE,
        what="the member on another queue not to count",
    )


def test_a_waiting_fetch_is_woken_by_a_record(broker: Broker, queue: str) -> None:
    channel = listening(broker, queue)
    sender = threading.Thread(target=broker.send, args=(queue, b"one"))

    sender.start()
    records = channel.fetch(10, PATIENCE)
    sender.join()

    assert values(records) == [b"one"]


def started(channel: IntakeChannel, records: Sequence[Record]) -> list[Record]:
    """Claim records to be settled after their run and return the granted ones."""
    granted, _ = channel.claim(tags(records), start=set(tags(records)))
    return [record for record in records if record.delivery_tag in set(granted)]


def test_what_was_started_and_is_settled_does_not_come_again(broker: Broker, queue: str) -> None:
    broker.send(queue, *[b"%d" % number for number in range(4)], key=KEY)
    channel = listening(broker, queue)
    records = fetch(channel, 4)

    granted, _ = channel.claim(tags(records), start=set(tags(records[1:])))
    channel.settle(tags(records[2:]))
    channel.close()
    heir = listening(broker, queue)

    assert list(granted) == tags(records)
    [again] = fetch(heir, 1)
    assert (again.value, again.redelivered, again.deliveries) == (b"1", True, 1)
    assert has_nothing(heir)


def test_what_its_member_gave_up_in_order_is_no_suspect(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a")
    channel = listening(broker, queue)
    started(channel, fetch(channel, 1))

    channel.close()
    heir = listening(broker, queue)

    [again] = fetch(heir, 1)
    assert (again.deliveries, again.deaths, again.is_suspect) == (1, 0, False)


def test_deliveries_and_deaths_are_counted_across_members(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a", b"b", key=KEY)
    first = listening(broker, queue)
    records = started(first, fetch(first, 2))
    first.release(tags(records[:1]), died=True)
    again = started(first, fetch(first, 1))
    first.close()

    second = listening(broker, queue)
    found = fetch(second, 2)

    assert [record.deliveries for record in again] == [1]
    told = {record.value: (record.deliveries, record.deaths) for record in found}
    assert told == {b"a": (2, 1), b"b": (1, 0)}


def test_a_started_record_cannot_be_claimed_once_more(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a")
    channel = listening(broker, queue)
    [record] = started(channel, fetch(channel, 1))

    assert channel.held([record.delivery_tag]) == {record.delivery_tag}
    assert has_nothing(channel)
    channel.settle([record.delivery_tag])
    assert list(channel.claim([record.delivery_tag])[1]) == [record.delivery_tag]


def test_the_end_of_a_run_settles_nothing_of_a_partition_that_is_gone(
    broker: Broker, queue: str
) -> None:
    broker.send(queue, b"a")
    channel = listening(broker, queue)
    [record] = started(channel, fetch(channel, 1))

    channel.leave()
    channel.settle([record.delivery_tag])
    heir = listening(broker, queue)

    assert channel.held([record.delivery_tag]) == set()
    assert values(fetch(heir, 1)) == [b"a"]


def test_what_is_settled_before_a_member_leaves_is_committed(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a", b"b", key=KEY)
    channel = broker.channel()
    ended: list[int] = []
    asked: list[int] = []

    def finish(partitions: Collection[int]) -> None:
        asked.extend(partitions)
        channel.settle(ended)

    channel.listen(queue, before_revoke=finish)
    records = started(channel, fetch(channel, 2))
    ended += tags(records[:1])

    channel.leave()
    heir = listening(broker, queue, channel)

    assert records[0].partition in asked
    assert values(fetch(heir, 1)) == [b"b"]
    assert has_nothing(heir)


def test_a_commit_alone_settles_what_has_ended(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a", b"b", key=KEY)
    channel = listening(broker, queue)
    records = started(channel, fetch(channel, 2))

    channel.settle(tags(records[:1]))
    channel.keep_company(tags(records[1:]))
    channel.commit()

    lag = broker.admin.queue_status([queue], group=broker.group, timeout=PATIENCE)[0].lag
    assert lag == 1
