"""Names and settings of topics."""

from __future__ import annotations

import pytest

from taskq_kafka.errors import TopicInvalid
from taskq_kafka.options import TransportOptions
from taskq_kafka.topics import (
    TopicSettings,
    dlq_queue_of,
    dlq_settings,
    dlq_topic,
    log_partition,
    log_settings,
    min_insync_replicas,
    queue_of,
    queue_settings,
    source_of_topic,
    topic_of,
    why_unfit,
)


@pytest.mark.parametrize("prefix", ["", "team-", "a.b."])
@pytest.mark.parametrize("queue", ["q", "Billing_2", "a.b-c"])
def test_topic_leads_back_to_its_queue(prefix: str, queue: str) -> None:
    assert queue_of(prefix, topic_of(prefix, queue)) == queue
    assert dlq_queue_of(prefix, dlq_topic(prefix, queue)) == queue


def test_the_topic_of_a_priority_step_is_its_queues() -> None:
    assert queue_of("mine-", "mine-q.p9") == "q"
    assert source_of_topic("mine-", "mine-q.p9") == "q.p9"
    assert dlq_topic("mine-", "q.p9") == "mine-q.dlq"


def test_the_default_queue_has_steps_though_its_name_begins_that_of_our_own_topics() -> None:
    assert source_of_topic("", "taskq.p9") == "taskq.p9"
    assert queue_of("", "taskq.p9") == "taskq"
    assert source_of_topic("", "taskq.timers.p9") is None
    assert queue_of("", "stage-taskq.timers.p9") is None


def test_topic_is_the_queues_name_exactly() -> None:
    assert topic_of("", "billing") == "billing"
    assert dlq_topic("p-", "billing") == "p-billing.dlq"


@pytest.mark.parametrize("queue", ["", "no spaces", "ü", "a/b", "x" * 250, ".", ".."])
def test_name_that_kafka_refuses_is_refused(queue: str) -> None:
    with pytest.raises(TopicInvalid):
        topic_of("", queue)


@pytest.mark.parametrize(
    "topic",
    [
        "q.dlq",
        "q.p4",
        "q.p3.p3",
        ".p3",
        "q.p3.dlq",
        "taskq.timers",
        "taskq.fanout.x",
        "__consumer_offsets",
        "other",
    ],
)
def test_topic_that_is_no_queue_has_none(topic: str) -> None:
    prefix = "mine-" if topic == "other" else ""

    assert queue_of(prefix, topic) is None


def test_own_topics_are_hidden_behind_the_prefix_too() -> None:
    assert queue_of("mine-", "mine-taskq.timers") is None
    assert queue_of("mine-", "mine-") is None
    assert queue_of("", "mine-taskq.timers") is None


def test_dead_letters_of_no_queue_have_no_queue() -> None:
    assert dlq_queue_of("", "q") is None
    assert dlq_queue_of("", "taskq.schedules.dlq") is None
    assert dlq_queue_of("mine-", "q.dlq") is None


def test_letters_of_what_could_not_be_fired_are_those_of_the_timers() -> None:
    assert dlq_queue_of("", "taskq.timers.dlq") == "taskq.timers"
    assert dlq_queue_of("mine-", "mine-taskq.timers.dlq") == "taskq.timers"
    assert dlq_queue_of("mine-", "taskq.timers.dlq") is None


def test_tasks_wait_until_they_are_claimed() -> None:
    made = queue_settings(TransportOptions(partitions=5))

    assert made.partitions == 5
    assert dict(made.config)["retention.ms"] == "-1"


@pytest.mark.parametrize(
    "made",
    [
        queue_settings(TransportOptions()),
        dlq_settings(TransportOptions(), queue_max_message_bytes=1000),
        log_settings("taskq.timers", TransportOptions()),
        log_settings("taskq.revoked", TransportOptions()),
    ],
)
def test_a_machine_whose_clock_is_ahead_may_write(made: TopicSettings) -> None:
    assert dict(made.config)["message.timestamp.after.max.ms"] == str(2**63 - 1)


def test_dead_letter_may_be_larger_than_its_record() -> None:
    made = dlq_settings(TransportOptions(dlq_retention=60), queue_max_message_bytes=1000)

    assert dict(made.config) == {
        "message.timestamp.after.max.ms": str(2**63 - 1),
        "cleanup.policy": "compact,delete",
        "retention.ms": "60000",
        "max.message.bytes": str(1000 + 65536),
    }


@pytest.mark.parametrize(("replication", "expected"), [(1, 1), (2, 1), (3, 2), (5, 4)])
def test_all_replicas_but_one_must_have_a_record(replication: int, expected: int) -> None:
    assert min_insync_replicas(replication) == expected


def test_logs_keep_the_newest_of_each_key_for_ever_and_revocations_for_a_day() -> None:
    kept = dict(log_settings("taskq.timers", TransportOptions()).config)
    forgotten = dict(log_settings("taskq.revoked", TransportOptions()).config)

    assert kept["cleanup.policy"] == "compact"
    assert "retention.ms" not in kept
    assert forgotten["cleanup.policy"] == "compact,delete"
    assert forgotten["retention.ms"] == str(86_400_000)


@pytest.mark.parametrize(
    ("log", "policy", "is_fit"),
    [
        ("taskq.timers", "compact", True),
        ("taskq.timers", "delete", False),
        ("taskq.timers", "compact,delete", False),
        ("taskq.timers", "delete, compact", False),
        ("taskq.revoked", "compact,delete", True),
        ("taskq.revoked", "delete,compact", True),
        ("taskq.revoked", "compact", True),
        ("taskq.revoked", "delete", False),
    ],
)
def test_log_whose_topic_would_lose_what_it_keeps_is_unfit(
    log: str, policy: str, is_fit: bool
) -> None:
    assert (why_unfit(log, policy) == "") is is_fit


def test_the_partition_of_a_route_is_the_same_for_ever() -> None:
    assert [log_partition(b"0198-task-%d" % number, 16) for number in range(8)] == [
        1, 7, 13, 11, 8, 14, 4, 2,
    ]  # fmt: skip
