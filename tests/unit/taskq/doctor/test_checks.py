"""What each check says of which facts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from taskq.doctor import (
    Facts,
    Finding,
    Level,
    SchedulesSeen,
    Stamp,
    TimersSeen,
    examine,
    our_queues,
    schedules_seen,
)
from taskq.doctor.clock import bounds
from taskq.doctor.timers import logs, timers
from taskq.protocols import (
    ClusterStatus,
    GroupMember,
    GroupStatus,
    HeldPartition,
    QueueStatus,
    TopicStatus,
)
from taskq.scheduling.scheduleview import ScheduleView

SETTINGS = {
    "transaction.partition.verification.enable": "true",
    "group.consumer.min.session.timeout.ms": "6000",
    "group.coordinator.rebalance.protocols": "classic,consumer",
    "group.min.session.timeout.ms": "6000",
    "offsets.retention.minutes": "10080",
    "authorizer.class.name": "",
}
QUEUE_SETTINGS = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.after.max.ms": "9223372036854775807",
    "min.insync.replicas": "2",
}
LETTER_SETTINGS = {
    "cleanup.policy": "compact,delete",
    "retention.ms": "7776000000",
    "max.message.bytes": "1114124",
    "min.insync.replicas": "2",
}
MEMBER = GroupMember("m", "host-1", "h", {"billing": list(range(12))})


def topic(*, dead: bool = False, partitions: int = 12, replication: int = 3, **own: str) -> Any:
    base = LETTER_SETTINGS if dead else QUEUE_SETTINGS
    renamed = {name.replace("_", "."): value for name, value in own.items()}
    wanted = {"partitions": "12", "replication": "3", **base}
    settings = {**base, **renamed} if partitions else {}
    name = "billing.dlq" if dead else "billing"
    return TopicStatus("billing", name, dead, partitions, replication, settings, wanted)


FINE = Facts(
    address="kafka:9092",
    session_timeout=6.0,
    auto_create=True,
    group_protocol="auto",
    cluster=ClusterStatus(3, SETTINGS, {"consumer.session.timeout.ms": "6000"}),
    group=GroupStatus("taskq", "consumer", (MEMBER,)),
    needed={"billing"},
    ours={"billing"},
    topics=(topic(), topic(dead=True)),
    queues=(QueueStatus("billing", 12, 3, 5.0, 1),),
    dead_letters={},
    rights={},
    stamps=(Stamp(1000, 1002, 900), Stamp(1100, 1102, 1050)),
)


def facts(**changes: Any) -> Facts:
    return replace(FINE, **changes)


def cluster(**changes: str | None) -> ClusterStatus:
    """A cluster whose settings differ from the fine ones; None takes one out."""
    renamed = {name.replace("_", "."): value for name, value in changes.items()}
    settings = {**SETTINGS, **renamed}
    kept = {name: value for name, value in settings.items() if value is not None}
    return ClusterStatus(3, kept, {})


def found(subject: str, **changes: Any) -> Finding:
    """The one finding about a subject that is worst."""
    about = [each for each in examine(facts(**changes)) if each.subject == subject]
    order = list(Level)
    return max(about, key=lambda each: order.index(each.level))


def test_nothing_is_wrong_where_nothing_is_wrong() -> None:
    levels = {finding.subject: finding.level for finding in examine(FINE)}

    assert set(levels.values()) == {Level.OK}
    assert {"broker", "version", "session", "offsets", "clock", "rights"} < set(levels)


def test_every_finding_that_is_not_fine_says_what_it_means() -> None:
    worst = facts(
        cluster=ClusterStatus(3, None, {}),
        topics=(topic(retention_ms="1"), topic(dead=True, max_message_bytes="1")),
        queues=(QueueStatus("billing", 12, 3, 5.0, 0),),
        stamps=(),
        dead_letters={"billing": 2},
        rights={("group", "taskq"): frozenset()},
    )

    bad = [finding for finding in examine(worst) if finding.level is not Level.OK]

    assert len(bad) > 6
    assert all(finding.meaning for finding in bad)
    assert all(finding.advice for finding in bad if finding.level is Level.PROBLEM)


# The cluster


@pytest.mark.parametrize(
    ("of", "level", "said"),
    [
        (cluster(transaction_partition_verification_enable=None), "problem", "older than Kafka 3.6"),
        (cluster(transaction_partition_verification_enable="false"), "problem", "=false"),
        (cluster(group_coordinator_rebalance_protocols="classic"), "ok", "without the consumer"),
        (ClusterStatus(1, None, {}), "note", "not known"),
    ],
)  # fmt: skip
def test_the_version_is_told_by_what_only_newer_ones_have(
    of: ClusterStatus, level: str, said: str
) -> None:
    finding = found("version", cluster=of)

    assert (finding.level.value, said in finding.finding) == (level, True)


NOBODY = GroupStatus("taskq", "", ())
LONG = {"consumer.session.timeout.ms": "45000"}


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"group": NOBODY}, "ok", "protocol consumer: a killed worker's tasks wait 6 s"),
        ({"cluster": ClusterStatus(1, SETTINGS, LONG)}, "note", "wait 45 s"),
        (
            {"group": NOBODY, "cluster": cluster(group_consumer_min_session_timeout_ms="45000")},
            "note",
            "protocol classic: a killed worker's tasks wait 6 s",
        ),
        (
            {"group": NOBODY, "cluster": cluster(group_coordinator_rebalance_protocols="classic")},
            "ok",
            "protocol classic",
        ),
        (
            {"group_protocol": "classic", "group": NOBODY, "session_timeout": 3.0},
            "problem",
            "no session below 6 s",
        ),
        ({"group": NOBODY, "cluster": ClusterStatus(1, None, {})}, "note", "not known"),
    ],
)
def test_the_session_is_what_a_killed_worker_costs(
    changes: dict[str, Any], level: str, said: str
) -> None:
    finding = found("session", **changes)

    assert (finding.level.value, said in finding.finding) == (level, True)


def test_a_long_session_is_told_with_the_brokers_keys() -> None:
    finding = found("session", cluster=ClusterStatus(1, SETTINGS, LONG))

    assert "group.consumer.min.session.timeout.ms=6000" in finding.advice
    assert "group.consumer.min.heartbeat.interval.ms=500" in finding.advice


def test_offsets_that_are_soon_forgotten_are_noted() -> None:
    assert found("offsets", cluster=cluster(offsets_retention_minutes="60")).level is Level.NOTE


# Clocks


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ((), (None, None)),
        ((Stamp(1000, 1010, None),), (None, None)),
        ((Stamp(1000, 1010, 500),), (-510, None)),
        ((Stamp(1000, 1010, 500), Stamp(1100, 1110, 500)), (-510, None)),
        # written by the broker at its 1050, between our 1000 and our 1110
        ((Stamp(1000, 1010, 500), Stamp(1100, 1110, 1050)), (-60, 50)),
        ((Stamp(1000, 1010, 500), Stamp(1100, 1110, 91_050)), (89_940, 90_050)),
    ],
)
def test_a_commit_between_two_looks_bounds_the_clock(
    stamps: tuple[Stamp, ...], expected: tuple[int | None, int | None]
) -> None:
    assert bounds(stamps) == expected


@pytest.mark.parametrize(
    ("second", "level", "said"),
    [
        (Stamp(1100, 1110, 900), "note", "not measured"),
        (Stamp(1100, 1110, 6_110), "note", "at least 5.0 s ahead"),
        (Stamp(1100, 1110, 91_110), "problem", "at least 90.0 s ahead"),
        (Stamp(1100, 1110, 1050), "ok", "within 0.1 s"),
    ],
)
def test_clocks_that_differ_are_told(second: Stamp, level: str, said: str) -> None:
    finding = found("clock", stamps=(Stamp(1000, 1002, 900), second))

    assert (finding.level.value, said in finding.finding) == (level, True)


def test_a_broker_that_is_behind_is_told() -> None:
    stamps = (Stamp(100_000, 100_010, 39_000), Stamp(100_100, 100_110, 40_000))

    finding = found("clock", stamps=stamps)

    assert "at least 60.0 s behind" in finding.finding
    assert finding.level is Level.PROBLEM


# Rights


def test_rights_that_a_worker_lacks_are_named() -> None:
    told = {
        ("cluster", ""): frozenset({"Describe"}),
        ("topic", "billing"): frozenset({"Describe", "Read"}),
        ("group", "taskq"): frozenset({"Describe", "Read"}),
    }

    finding = found(
        "rights on topic billing", cluster=cluster(authorizer_class_name="A"), rights=told
    )

    assert (finding.level, finding.finding) == (Level.PROBLEM, "this user may not Write")


def test_rights_that_nobody_tells_are_not_known() -> None:
    assert found("rights", cluster=ClusterStatus(1, None, {})).level is Level.NOTE


# Topics


@pytest.mark.parametrize(
    ("changed", "level", "said"),
    [
        (topic(retention_ms="604800000"), "problem", "7d 0h"),
        (topic(retention_bytes="1000"), "problem", "retention.bytes=1000"),
        (topic(cleanup_policy="compact"), "problem", "cleanup.policy=compact"),
        (topic(message_timestamp_after_max_ms="3600000"), "note", "3600000 (1h 0m)"),
        (topic(partitions=4), "note", "4 partitions"),
        (topic(replication=1, min_insync_replicas="1"), "note", "one replica"),
        (topic(min_insync_replicas="4"), "problem", "min.insync.replicas=4, with 3 replicas"),
        (topic(min_insync_replicas="3"), "note", "min.insync.replicas=3, with 3 replicas"),
        (topic(min_insync_replicas="1"), "note", "min.insync.replicas=1, with 3 replicas"),
    ],
)
def test_a_queue_with_other_settings_is_told_with_what_follows(
    changed: TopicStatus, level: str, said: str
) -> None:
    finding = found("topic billing", topics=(changed,))

    assert (finding.level.value, said in finding.finding) == (level, True)


@pytest.mark.parametrize(
    ("changed", "level"),
    [
        (topic(dead=True, max_message_bytes="1000000"), "problem"),
        (topic(dead=True, max_message_bytes="9000000"), "ok"),
        (topic(dead=True, retention_ms="-1"), "note"),
        (topic(dead=True, cleanup_policy="delete"), "note"),
    ],
)
def test_dead_letters_with_other_settings_are_told(changed: TopicStatus, level: str) -> None:
    assert found("topic billing.dlq", topics=(changed,)).level.value == level


def test_a_missing_topic_is_a_problem_only_where_nobody_makes_it() -> None:
    missing = (topic(partitions=0),)

    assert not [each for each in examine(facts(topics=missing)) if "topic" in each.subject]
    finding = found("topic billing", topics=missing, auto_create=False)
    assert (finding.level, "taskq topics apply" in finding.advice) == (Level.PROBLEM, True)


def test_what_may_be_somebody_elses_topic_is_no_problem() -> None:
    finding = found("topic billing", topics=(topic(retention_ms="1"),), ours=set())

    assert finding.level is Level.NOTE
    assert finding.meaning.startswith("If it is a queue of taskq's: ")


def test_queues_are_ours_by_app_prefix_letters_settings_or_workers() -> None:
    foreign = topic(retention_ms="604800000")
    nobody = GroupStatus("taskq", "", ())

    def ours(*topics: TopicStatus, needed: frozenset[str] = frozenset(), **more: Any) -> set[str]:
        known = {"prefix": "", "group": nobody, **more}
        return our_queues(needed, topics=topics, **known)

    assert ours(foreign) == set()
    assert ours(foreign, needed=frozenset({"other"})) == {"other"}
    assert ours(foreign, prefix="team.") == {"billing"}
    assert ours(foreign, topic(dead=True)) == {"billing"}
    assert ours(foreign, topic(dead=True, partitions=0)) == set()
    assert ours(topic()) == {"billing"}
    assert ours(foreign, group=GroupStatus("taskq", "consumer", (MEMBER,))) == {"billing"}


# Queues


@pytest.mark.parametrize(
    ("lag", "workers", "level", "said"),
    [
        (3, 0, "problem", "3 waiting tasks, the oldest for 5s, and no worker"),
        (3, 1, "ok", "3 waiting tasks, the oldest for 5s; 1 worker"),
        (0, 0, "note", "no worker"),
    ],
)
def test_what_waits_without_a_worker_is_a_problem(
    lag: int, workers: int, level: str, said: str
) -> None:
    status = QueueStatus("billing", 12, lag, 5.0 if lag else None, workers)

    finding = found("queue billing", queues=(status,))

    assert (finding.level.value, finding.finding) == (level, said)


def test_no_worker_is_missed_where_the_broker_cannot_tell() -> None:
    untold = GroupStatus("taskq", "", (), is_told=False)
    status = QueueStatus("billing", 12, 3, 5.0, 0)

    assert found("queue billing", group=untold, queues=(status,)).level is Level.NOTE


def test_members_without_a_partition_are_named() -> None:
    idle = GroupMember("n", "host-2", "h", {})

    finding = found("workers", group=GroupStatus("taskq", "consumer", (MEMBER, idle)))

    assert "1 member of 2 without a partition: host-2" in finding.finding
    assert "billing 12" in finding.meaning


def test_of_many_queues_spare_members_are_told_the_smallest_of_ours() -> None:
    idle = GroupMember("m2", "host-2", "h", {})
    many = [QueueStatus(f"q{number:02}", 40 - number, 0, None, 1) for number in range(17)]

    finding = found(
        "workers",
        group=GroupStatus("taskq", "consumer", (MEMBER, idle)),
        queues=[*many, QueueStatus("foreign", 1, 0, None, 0)],
        ours={each.queue for each in many},
    )

    assert "(partitions: q16 24, q15 25, q14 26, q13 27, q12 28 and 12 more)" in finding.meaning


def test_one_partition_is_told_as_one() -> None:
    finding = found("topic billing", topics=(topic(partitions=1),))

    assert finding.finding.startswith("1 partition;")
    assert "1 worker at a time" in finding.meaning


def test_dead_letters_that_wait_are_noted() -> None:
    finding = found("dead letters of billing", dead_letters={"billing": 2})

    assert (finding.level, "2 tasks" in finding.finding) == (Level.NOTE, True)


# timers


def log(name: str = "taskq.timers", policy: str = "compact", partitions: int = 16) -> TopicStatus:
    wanted = {"partitions": "16", "cleanup.policy": "compact"}
    return TopicStatus(
        name, name, False, partitions, 1, {"cleanup.policy": policy}, wanted, is_log=True
    )


@pytest.mark.parametrize(
    ("topic", "level"),
    [
        (log(), Level.OK),
        (log(partitions=4), Level.OK),
        (log(policy="delete"), Level.PROBLEM),
        (log(policy="compact,delete"), Level.PROBLEM),
        (log("taskq.revoked", "compact,delete"), Level.OK),
    ],
)
def test_a_log_that_would_lose_what_waits_is_a_problem(topic: TopicStatus, level: Level) -> None:
    [finding] = logs(replace(FINE, logs=(topic,)))

    assert finding.level is level


def test_a_log_that_is_missing_is_a_problem_only_where_nobody_makes_it() -> None:
    missing = log(partitions=0)

    assert not list(logs(replace(FINE, logs=(missing,), auto_create=True)))
    [finding] = logs(replace(FINE, logs=(missing,), auto_create=False))
    assert finding.level is Level.PROBLEM


NOBODY = GroupStatus("taskq-timers", "consumer", ())


@pytest.mark.parametrize(
    ("seen", "owners", "level"),
    [
        (TimersSeen(0, None), NOBODY, Level.OK),
        (TimersSeen(3, -60.0), NOBODY, Level.PROBLEM),
        (TimersSeen(3, -60.0), None, Level.OK),
        (TimersSeen(3, 5.0), None, Level.OK),
        (TimersSeen(3, 60.0), None, Level.PROBLEM),
    ],
)
def test_what_waits_and_nobody_would_send_is_a_problem(
    seen: TimersSeen, owners: GroupStatus | None, level: Level
) -> None:
    [finding] = timers(replace(FINE, timers=seen, owners=owners))

    assert finding.level is level


# Open transactions


def held(seconds: float | None, **own: Any) -> Finding:
    """What is said of one that was seen so long after its begin."""
    since_ms = None if seconds is None else int(1_700_000_000_000 - seconds * 1000)
    own = {"address": "kafka:9092", **own}
    return found(
        "partition billing 3",
        held=[HeldPartition("billing", 3, 17, 5, since_ms)],
        now_ms=1_700_000_000_000,
        **own,
    )


def test_a_transaction_that_its_program_may_still_end_is_a_note() -> None:
    finding = held(5)

    assert finding.level is Level.NOTE
    assert finding.finding == (
        "an open transaction holds back 5 offsets from 17 on, since 2023-11-14T22:13:15.000Z (5s)"
    )


@pytest.mark.parametrize("seconds", [300, None])
def test_a_transaction_that_nobody_ends_is_a_problem(seconds: float | None) -> None:
    finding = held(seconds)

    assert finding.level is Level.PROBLEM
    assert "the lag does not count it" in finding.meaning
    tool = "kafka-transactions.sh --bootstrap-server kafka:9092"
    where = "--topic billing --partition 3"
    assert f"{tool} find-hanging {where}" in finding.advice
    assert f"{tool} abort {where} --start-offset 17" in finding.advice


def test_the_tools_are_given_the_brokers_and_no_name_of_a_user() -> None:
    finding = held(300, address="taskqs://me:***@one:9093,two:9093")

    assert "--bootstrap-server one:9093,two:9093 " in finding.advice


# schedules


@pytest.mark.parametrize(
    ("seen", "level", "told"),
    [
        (SchedulesSeen("jobs", 3, has_beat=True), Level.OK, "3 in force"),
        (SchedulesSeen("jobs", 3, has_beat=None), Level.OK, "3 in force"),
        (SchedulesSeen("jobs", 0, has_beat=False), Level.OK, "0 in force"),
        (
            SchedulesSeen("jobs", 3, has_beat=False),
            Level.PROBLEM,
            "3 in force; no beat of this namespace runs",
        ),
        (
            SchedulesSeen("jobs", 3, 2, 240.0, has_beat=False),
            Level.PROBLEM,
            "3 in force, 2 overdue, the first for 4m 0s; no beat of this namespace runs",
        ),
        (
            SchedulesSeen("jobs", 3, 2, 240.0, has_beat=True),
            Level.PROBLEM,
            "3 in force, 2 overdue, the first for 4m 0s, though a beat of this namespace runs",
        ),
        (
            SchedulesSeen("jobs", 3, 2, 240.0, has_beat=None),
            Level.PROBLEM,
            "3 in force, 2 overdue, the first for 4m 0s",
        ),
        (
            SchedulesSeen("jobs", 3, unreadable=1, has_beat=True),
            Level.NOTE,
            "3 in force; 1 schedule cannot be used",
        ),
    ],
)
def test_schedules_need_a_beat_of_their_namespace(
    seen: SchedulesSeen, level: Level, told: str
) -> None:
    finding = found("schedules of jobs", schedules=[seen])

    assert (finding.level, finding.finding) == (level, told)


def test_a_namespace_without_a_beat_is_told_how_to_start_one() -> None:
    finding = found("schedules of jobs", schedules=[SchedulesSeen("jobs", 1, has_beat=False)])

    assert "taskq beat" in finding.advice
    assert "--namespace jobs" in finding.advice


def test_schedules_are_counted_by_namespace() -> None:
    views = [
        ScheduleView("jobs/a", "active"),
        ScheduleView("jobs/b", "overdue", lateness=20.0),
        ScheduleView("jobs/c", "overdue", lateness=90.0),
        ScheduleView("jobs/d", "paused"),
        ScheduleView("jobs/e", "unreadable"),
        ScheduleView("other/a", "disabled"),
    ]

    assert schedules_seen(views) == [
        SchedulesSeen("jobs", 3, 2, 90.0, 1),
        SchedulesSeen("other", 0),
    ]
