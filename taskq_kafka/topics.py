"""Queues and topics: which name stands for which, and with what settings a topic is made.

Pure. Making and describing topics is in admin.py.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final

from .errors import TopicInvalid
from .options import TransportOptions
from .steps import queue_of_source

DLQ_SUFFIX: Final = ".dlq"
OWN_PREFIX: Final = "taskq."
"""What taskq keeps for itself begins so: timers, schedules, bindings."""

TIMERS: Final = OWN_PREFIX + "timers"
"""The log of the timers; the letters of all logs' firings stand in its dead-letter topic."""

REVOKED: Final = OWN_PREFIX + "revoked"
"""The log of revoked tasks."""

LOG_PARTITIONS: Final = 16
"""Of a new log: the most hosts that can share its work. Never to be changed: a route's partition follows from it."""

NAME_MAX_LENGTH: Final = 249
"""Kafka's own limit for a topic's name."""

QUEUE_MAX_LENGTH: Final = 240
"""Of a queue's name with the prefix: leaves room for the suffixes."""

DLQ_HEADROOM: Final = 65_536
"""Bytes that a dead letter may be larger than its source record: the headers that say why."""

DEFAULT_MAX_MESSAGE_BYTES: Final = 1_048_588
"""Kafka's default of `max.message.bytes`."""

LOGS: Final = (TIMERS, OWN_PREFIX + "schedules", REVOKED)

_LOG_RETENTION: Final = {REVOKED: 86_400_000}
"""Milliseconds after which the records of a log go; all others keep the newest of each key for ever."""

_LEGAL: Final = re.compile(r"[A-Za-z0-9._-]+")
_STEP: Final = re.compile(r"\.p[0-9]+$")


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """How a topic is made."""

    partitions: int
    replication: int | None
    """None: the cluster's default."""

    config: tuple[tuple[str, str], ...]
    """Kafka's own topic settings. `min.insync.replicas` is added when the number of replicas is known."""


def topic_of(prefix: str, queue: str) -> str:
    """Return the topic of a queue.

    Raises:
        TopicInvalid: Kafka would not take the name.
    """
    topic = prefix + queue
    if not _LEGAL.fullmatch(topic) or topic in (".", "..") or not queue:
        raise TopicInvalid(topic, "letters, digits, '.', '_' and '-' only")
    if len(topic) > NAME_MAX_LENGTH:
        raise TopicInvalid(topic, f"longer than {NAME_MAX_LENGTH} characters")
    return topic


def dlq_topic(prefix: str, queue: str) -> str:
    """Return the topic of a queue's dead letters, which its priority steps share.

    Raises:
        TopicInvalid: Kafka would not take the name.
    """
    return topic_of(prefix, queue_of_source(queue) + DLQ_SUFFIX)


def queue_of(prefix: str, topic: str) -> str | None:
    """Return the queue of a topic, or None if the topic is none: a dead-letter topic, one of ours, or somebody else's.

    The topic of a priority step is its queue's.
    """
    source = source_of_topic(prefix, topic)
    return None if source is None else queue_of_source(source)


def source_of_topic(prefix: str, topic: str) -> str | None:
    """Return the queue or priority step of a topic, or None as `queue_of` does."""
    if not topic.startswith(prefix) or len(topic) == len(prefix):
        return None
    name = topic[len(prefix) :]
    queue = queue_of_source(name)
    if name.endswith(DLQ_SUFFIX) or _STEP.search(queue) or not queue:
        return None
    if queue.startswith((OWN_PREFIX, "__")) or topic.startswith("__"):
        return None
    if queue.endswith(LOGS):  # those of another prefix, seen without one
        return None
    return name


def dlq_queue_of(prefix: str, topic: str) -> str | None:
    """Return the queue whose dead letters stand in a topic, or None if it holds none."""
    if not topic.endswith(DLQ_SUFFIX):
        return None
    source = topic[: -len(DLQ_SUFFIX)]
    return TIMERS if source == prefix + TIMERS else queue_of(prefix, source)


_ANY_TIME = ("message.timestamp.after.max.ms", str(2**63 - 1))
"""Records may say any time: since Kafka 4.0 a broker refuses those of more than an hour ahead of its own clock, and a machine whose
clock is wrong would send nothing, and keep its share of the timers from being sent."""


def queue_settings(options: TransportOptions) -> TopicSettings:
    """Return how a queue's topic is made: tasks wait until they are claimed, however long."""
    return TopicSettings(
        partitions=options.partitions,
        replication=options.replication,
        config=(
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            _ANY_TIME,
        ),
    )


def dlq_settings(options: TransportOptions, *, queue_max_message_bytes: int) -> TopicSettings:
    """Return how a queue's dead-letter topic is made.

    Compacted, as the same letter written twice is one letter and a tombstone takes it out, and deleted after `dlq_retention`.

    Args:
        options: The connection's options.
        queue_max_message_bytes: The queue's own limit for a record.
    """
    return TopicSettings(
        partitions=options.partitions,
        replication=options.replication,
        config=(
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", str(int(options.dlq_retention * 1000))),
            ("max.message.bytes", str(queue_max_message_bytes + DLQ_HEADROOM)),
            _ANY_TIME,
        ),
    )


def log_settings(log: str, options: TransportOptions) -> TopicSettings:
    """Return how a log's topic is made: compacted soon, as its owners read all of it at each take-over.

    The active segment is never compacted, so it is closed early. A record that fits a queue fits here, with headroom.
    """
    config = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "600000"),
        ("segment.bytes", "16777216"),
        ("min.cleanable.dirty.ratio", "0.2"),
        # Whoever reads a whole log has to be done within it, or may see a record without the tombstone that took it out.
        ("delete.retention.ms", "3600000"),
        ("max.message.bytes", str(DEFAULT_MAX_MESSAGE_BYTES + DLQ_HEADROOM)),
        _ANY_TIME,
    ]
    if log in _LOG_RETENTION:
        config[0] = ("cleanup.policy", "compact,delete")
        config.append(("retention.ms", str(_LOG_RETENTION[log])))
    return TopicSettings(LOG_PARTITIONS, options.replication, tuple(config))


def why_unfit(log: str, cleanup_policy: str) -> str:
    """Return why a topic with this `cleanup.policy` cannot be a log's; empty where it can."""
    policies = {each.strip() for each in cleanup_policy.split(",")}
    wanted = "compact,delete" if log in _LOG_RETENTION else "compact"
    if "compact" not in policies:
        return f"its cleanup.policy is {cleanup_policy!r}, which would keep what was replaced; it has to be {wanted!r}"
    if "delete" in policies and log not in _LOG_RETENTION:
        return f"its cleanup.policy is {cleanup_policy!r}, which would delete what still waits; it has to be {wanted!r}"
    return ""


def log_partition(route: bytes, partitions: int) -> int:
    """Return the partition of a route in a log of so many; every writer and reader has to agree on it, for ever."""
    return zlib.crc32(route) % partitions


def min_insync_replicas(replication: int) -> int:
    """Return how many replicas must have a record before it counts: all but one, at least one."""
    return max(1, replication - 1)
