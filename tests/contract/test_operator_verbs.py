"""What operators ask of a transport (`taskq.protocols.Admin`): topics, members, single records; on every broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq.protocols import Found, GroupStatus, Record, TopicStatus
from tests.support.brokers import PATIENCE, Broker, fetch, listening, tags
from tests.support.waiting import wait_until


def topic_of(broker: Broker, queue: str, *, dead: bool = False) -> TopicStatus:
    found = broker.admin.topics([queue], timeout=PATIENCE)
    [status] = [each for each in found if each.is_dead_letters is dead]
    return status


def find(
    broker: Broker, queues: Sequence[str], value: bytes, since_ms: int | None = None, **more: Any
) -> Found:
    def matches(record: Record) -> bool:
        return record.value == value

    until_ms = more.get("until_ms")
    return broker.admin.find_records(
        queues,
        matches,
        group=broker.group,
        since_ms=since_ms,
        until_ms=until_ms,
        timeout=PATIENCE,
    )


def members_of(broker: Broker) -> GroupStatus:
    return broker.admin.group(broker.group, timeout=PATIENCE)


# Topics


def test_a_missing_topic_has_no_partitions_and_tells_what_it_would_get(
    broker: Broker, queue: str
) -> None:
    broker.needs("missing topics")

    status, dead = broker.admin.topics([queue], timeout=PATIENCE)

    assert (status.queue, status.partitions, status.is_dead_letters) == (queue, 0, False)
    assert (dead.queue, dead.partitions, dead.is_dead_letters) == (queue, 0, True)
    assert status.wanted["partitions"] == "12"


def test_a_topic_that_was_made_has_what_was_wanted(broker: Broker, queue: str) -> None:
    broker.needs("partitions")
    broker.admin.create_queue(queue, timeout=PATIENCE)
    broker.admin.create_dead_letter_topic(queue, timeout=PATIENCE)

    status, dead = topic_of(broker, queue), topic_of(broker, queue, dead=True)

    assert str(status.partitions) == status.wanted["partitions"]
    assert all(status.wanted[name] == value for name, value in status.settings.items())
    assert dead.partitions > 0
    assert all(dead.wanted[name] == value for name, value in dead.settings.items())


def test_topics_of_priority_steps_stand_beside_their_queues(broker: Broker, queue: str) -> None:
    broker.admin.create_queue(f"{queue}.p6", timeout=PATIENCE)
    wait_until(
        lambda: f"{queue}.p6" in broker.admin.sources(timeout=PATIENCE),
        timeout=PATIENCE,
        what="the step",
    )

    found = broker.admin.topics([queue, f"{queue}.p9"], timeout=PATIENCE)

    assert [(each.step, each.is_dead_letters) for each in found] == [
        (0, False),
        (6, False),
        (9, False),
        (0, True),
    ]
    assert {each.queue for each in found} == {queue}
    assert found[1].topic.endswith(f"{queue}.p6")
    assert [bool(each.partitions) for each in found[1:3]] == [True, False]


def test_topics_are_named_with_the_prefix(broker: Broker, queue: str) -> None:
    admin = broker.connect(prefix="stage.").transport.admin

    status, dead = admin.topics([queue], timeout=PATIENCE)

    assert status.topic == f"stage.{queue}"
    assert dead.topic == f"stage.{queue}.dlq"


# Members


def test_a_group_that_never_was_has_no_members(broker: Broker) -> None:
    status = members_of(broker)

    assert (status.group, list(status.members)) == (broker.group, [])


def test_a_member_is_told_with_the_partitions_it_holds(broker: Broker, queue: str) -> None:
    broker.needs("members")
    broker.admin.create_queue(queue, timeout=PATIENCE)
    channel = listening(broker, queue)

    status = members_of(broker)

    [member] = status.members
    assert member.holds == {queue: list(range(broker.partitions))}
    assert status.protocol == "consumer"
    assert member.name
    assert member.host
    channel.close()


# Records


def test_a_waiting_record_is_found_with_what_stands_before_it(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a", b"b", b"c", key=b"one partition")

    found = find(broker, [queue], b"c")

    [at] = found.records
    assert (at.queue, at.offset, at.is_claimed, at.ahead) == (queue, 2, False, 2)
    assert at.record is not None
    assert at.record.value == b"c"
    assert found.searched == 3


def test_claimed_records_are_not_counted_as_standing_before(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a", b"b", b"c", b"d", key=b"one partition")
    channel = listening(broker, queue)
    records = fetch(channel, 4)

    channel.claim([*tags(records[:1]), *tags(records[2:3])])

    [claimed] = find(broker, [queue], b"c", since_ms=0).records
    [waiting] = find(broker, [queue], b"d", since_ms=0).records
    assert (claimed.is_claimed, claimed.ahead) == (True, 0)
    assert (waiting.is_claimed, waiting.ahead) == (False, 1)


def test_only_waiting_records_are_looked_at_unless_a_time_is_given(
    broker: Broker, queue: str
) -> None:
    broker.send(queue, b"a", b"b", key=b"one partition")
    channel = listening(broker, queue)

    channel.claim(tags(fetch(channel, 2)))

    assert find(broker, [queue], b"a").searched == 0
    [at] = find(broker, [queue], b"a", since_ms=0).records
    assert at.is_claimed


def test_a_span_of_time_bounds_what_is_looked_at(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a")
    [at] = find(broker, [queue], b"a").records
    assert at.record is not None
    sent_ms = at.record.timestamp_ms

    assert find(broker, [queue], b"a", since_ms=sent_ms).searched == 1
    assert find(broker, [queue], b"a", since_ms=sent_ms + 1).searched == 0
    assert find(broker, [queue], b"a", since_ms=0, until_ms=sent_ms - 1).searched == 0


def test_queues_that_do_not_exist_are_passed_over_in_a_search(broker: Broker, queue: str) -> None:
    broker.needs("missing topics")
    broker.send(queue, b"a")

    found = find(broker, [f"{queue}-missing", queue], b"a")

    assert [at.queue for at in found.records] == [queue]


def test_a_record_is_found_by_its_place(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a", b"b", key=b"one partition")
    [last] = find(broker, [queue], b"b").records

    def at(offset: int) -> Any:
        return broker.admin.record_at(
            queue, last.partition, offset, group=broker.group, timeout=PATIENCE
        )

    assert (at(1).record.value, at(1).ahead) == (b"b", 1)
    assert at(0).ahead == 0
    assert at(2) is None


def test_a_purge_leaves_nothing_and_later_records_are_found(broker: Broker, queue: str) -> None:
    broker.needs("purge")
    broker.send(queue, b"a", b"b", key=b"one partition")

    purged = broker.admin.purge(queue, group=broker.group, timeout=PATIENCE)
    broker.send(queue, b"c", key=b"one partition")

    assert purged == 2
    assert find(broker, [queue], b"a", since_ms=0).records == []
    [at] = find(broker, [queue], b"c").records
    assert (at.offset, at.ahead) == (2, 0)
    gone = broker.admin.record_at(queue, at.partition, 0, group=broker.group, timeout=PATIENCE)
    assert gone is not None
    assert gone.record is None


def test_a_purge_of_a_queue_that_does_not_exist_deletes_nothing(broker: Broker, queue: str) -> None:
    broker.needs("missing topics")

    assert broker.admin.purge(queue, group=broker.group, timeout=PATIENCE) == 0


# The cluster


def test_the_cluster_says_how_many_brokers_it_has(broker: Broker) -> None:
    assert broker.admin.cluster(group=broker.group, timeout=PATIENCE).brokers == 1


def test_rights_are_told_by_resource_or_not_at_all(broker: Broker, queue: str) -> None:
    broker.admin.create_queue(queue, timeout=PATIENCE)

    rights = broker.admin.rights([queue], group=broker.group, timeout=PATIENCE)

    known = {("cluster", ""), ("topic", queue), ("group", broker.group)}
    assert set(rights) <= known
    assert all("Describe" in operations for operations in rights.values())


def test_the_newest_commit_is_after_an_older_one_or_not_told(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a")
    before = broker.admin.newest_commit_ms(timeout=PATIENCE)
    channel = listening(broker, queue)
    channel.claim(tags(fetch(channel, 1)))

    if broker.kind == "kafka":
        wait_until(
            lambda: (broker.admin.newest_commit_ms(timeout=PATIENCE) or 0) > (before or 0),
            timeout=PATIENCE,
            what="the commit's time",
        )
    else:
        assert before is None


def test_no_partition_is_held_up_where_no_transaction_is_open(broker: Broker, queue: str) -> None:
    broker.send(queue, b"a")

    assert broker.admin.held_up([queue, f"{queue}.none"], timeout=PATIENCE) == []
