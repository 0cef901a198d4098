"""What the checks are given: all that the command could learn, as it was then."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from taskq.protocols import ClusterStatus, GroupStatus, HeldPartition, QueueStatus, TopicStatus
from taskq.topicdifferences import exists
from taskq_kafka.steps import queue_of_source


@dataclass(frozen=True, slots=True)
class Stamp:
    """One answer to the question when a broker last wrote a commit, and when it was asked. Milliseconds since 1970."""

    asked_ms: int
    """By this machine's clock, as the next one is."""

    answered_ms: int
    newest_ms: int | None
    """By the broker's clock; None where nobody tells."""


@dataclass(frozen=True, slots=True)
class TimersSeen:
    """What waits for its time."""

    waiting: int
    overdue_seconds: float | None
    """How late the first is, by this machine's clock; None where nothing waits."""


@dataclass(frozen=True, slots=True)
class SchedulesSeen:
    """The schedules of one namespace."""

    namespace: str
    in_force: int
    """How many send, or should: neither paused nor disabled nor over."""

    overdue: int = 0
    overdue_seconds: float = 0.0
    """How late the first of these is, by this machine's clock."""

    unreadable: int = 0
    has_beat: bool | None = None
    """Whether a beat of the namespace runs; None where that cannot be told."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A cluster seen from here."""

    address: str
    session_timeout: float
    """Setting, in seconds."""

    auto_create: bool
    group_protocol: str
    cluster: ClusterStatus
    group: GroupStatus
    needed: Collection[str]
    """Queues of the app."""

    ours: Collection[str]
    """Queues that are certainly taskq's; see `our_queues`."""

    topics: Sequence[TopicStatus]
    queues: Sequence[QueueStatus]
    dead_letters: Mapping[str, int]
    """How many wait, by queue."""

    rights: Mapping[tuple[str, str], frozenset[str]]
    stamps: Sequence[Stamp]
    """In the order of asking."""

    logs: Sequence[TopicStatus] = ()
    """The topics of logs."""

    owners: GroupStatus | None = None
    """Who owns the timers' shards; None where that is not known."""

    timers: TimersSeen | None = None
    """None where they could not be read, or there is no such log."""

    schedules: Sequence[SchedulesSeen] = ()
    """Nothing where this user may not see them."""

    held: Sequence[HeldPartition] = ()
    """Partitions in which one transaction was open at two looks, some seconds apart."""

    now_ms: int = 0
    """When the second look was, by this machine's clock; milliseconds since 1970."""

    unseen: Sequence[str] = ()
    """What this user may not look at, in words."""


def our_queues(
    needed: Collection[str],
    *,
    prefix: str,
    topics: Sequence[TopicStatus],
    group: GroupStatus,
) -> set[str]:
    """Return the queues that are certainly taskq's: without a prefix any topic of a shared cluster looks like one.

    Those are the app's, all behind a prefix, those with dead letters or workers, and those that are set up as taskq makes them.
    """
    found = set(needed)
    for topic in topics:
        as_made = topic.settings.get("retention.ms") == "-1"
        has_letters = topic.is_dead_letters and exists(topic)
        if prefix or has_letters or (as_made and not topic.is_dead_letters):
            found.add(topic.queue)
    return found.union(*(map(queue_of_source, member.holds) for member in group.members))
