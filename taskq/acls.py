"""Which rights each command needs on a cluster with access rules (ACLs).

Pure; tests/integration/test_acls.py grants exactly these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taskq_kafka.steps import step_of_source

ANY_QUEUE = "QUEUE"
"""Stands for each queue's topic where no queues are known."""

_REDRIVE = "taskq-redrive-"
"""Begins the transactional ids of those who move dead letters; the queue's name follows."""

CLUSTER = "kafka-cluster"
"""What Kafka calls the cluster's own resource."""


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on one resource that a command needs."""

    command: str
    kind: str
    """`topic`, `group`, `transactional-id` or `cluster`."""

    name: str
    is_prefix: bool
    """Whether it is for all names that begin so."""

    operations: tuple[str, ...]
    use: str
    is_optional: bool = False
    """Whether the command works without it, if less well."""


def needed_rights(
    queues: Sequence[str], *, prefix: str, group: str, auto_create: bool
) -> list[Right]:
    """Return what each command needs.

    Args:
        queues: Their names, and those of priority steps (QUEUE.pN), without prefix. With a prefix one rule for all names behind it
            takes their place.
        prefix: Stands before all topics and groups; empty for none.
        group: The workers' group, without prefix.
        auto_create: Whether missing topics are made on first use.
    """
    topics = [(prefix, True)] if prefix else [(queue, False) for queue in queues or [ANY_QUEUE]]
    rights: list[Right] = []
    for topic, is_prefix in topics:
        dead = topic if is_prefix else f"{topic}.dlq"
        found = _of_topic(topic, dead, is_prefix=is_prefix, auto_create=auto_create)
        # Of a step, its own topic's: dead letters and their moving are its queue's.
        is_step = not is_prefix and step_of_source(topic) > 0
        rights += [right for right in found if right.name == topic or not is_step]
    rights += _of_logs(prefix, auto_create=auto_create)
    rights += _of_group(prefix + group)
    rights += _of_cluster(auto_create=auto_create)
    rights += _of_reader(f"{prefix}taskq-reader")
    order = list(dict.fromkeys(right.command for right in rights))
    return sorted(rights, key=lambda right: order.index(right.command))


def _of_topic(topic: str, dead: str, *, is_prefix: bool, auto_create: bool) -> Iterator[Right]:
    create = ("Create",) if auto_create else ()

    def on(command: str, name: str, *operations: str, use: str, optional: bool = False) -> Right:
        return Right(command, "topic", name, is_prefix, operations, use, optional)

    sends = ("Describe", "Write", *create)
    yield on("send, delay(), beat", topic, *sends, use="send tasks")
    yield on(
        "worker",
        topic,
        "Describe",
        "Read",
        "Write",
        *create,
        use="take tasks, and send what follows them",
    )
    yield on("worker", dead, *sends, use="write dead letters")
    if auto_create:
        yield on(
            "worker",
            topic,
            "DescribeConfigs",
            use="know how large a dead letter may be",
            optional=True,
        )
    yield on(
        "worker",
        topic,
        "Delete",
        "DescribeConfigs",
        use="delete finished tasks",
        optional=True,
    )
    yield on("queues, find", topic, "Describe", "Read", use="count and read what waits")
    yield on("find, dlq", dead, "Describe", "Read", use="read dead letters")
    yield on("dlq redrive, dlq discard", dead, "Describe", "Read", "Write", use="take letters out")
    yield on("dlq redrive, dlq discard", topic, *sends, use="send records back")
    yield Right(
        "dlq redrive, dlq discard",
        "transactional-id",
        f"{topic}{_REDRIVE}" if is_prefix else f"{_REDRIVE}{topic}",
        is_prefix,
        ("Describe", "Write"),
        "let one command at a time do so",
    )
    yield on("purge", topic, "Describe", "Delete", use="delete what waits")
    yield on("topics, doctor", topic, "Describe", "DescribeConfigs", use="read settings")
    yield on("topics, doctor", dead, "Describe", "DescribeConfigs", use="read settings")
    yield on("topics apply", topic, "Create", use="make queues")
    yield on("topics apply", dead, "Create", use="make the topics of dead letters")


def _of_logs(prefix: str, *, auto_create: bool) -> Iterator[Right]:
    """What waits for its time: who sends it, and who owns it and sends it on."""
    create = ("Create",) if auto_create else ()

    def on(command: str, log: str, *operations: str, use: str, optional: bool = False) -> Right:
        name = prefix or log
        return Right(command, "topic", name, bool(prefix), operations, use, optional)

    def host(command: str, log: str, group: str, *, is_prefix: bool) -> Iterator[Right]:
        yield on(command, log, "Describe", "Read", "Write", *create, use="own what waits there")
        yield on(
            command, log, "DescribeConfigs", use="see that nothing there is deleted", optional=True
        )
        yield Right(
            command, "group", prefix + group, is_prefix, ("Describe", "Read"), "share the owning"
        )
        yield Right(
            command,
            "group",
            prefix + group,
            is_prefix,
            ("AlterConfigs",),
            "give the group a short session (KIP-848)",
            is_optional=True,
        )
        yield Right(
            command,
            "transactional-id",
            f"{prefix}{group.removesuffix('-')}-",
            True,
            ("Describe", "Write"),
            "send what is due exactly once",
        )

    for command in ("send, delay(), beat", "worker"):
        yield on(command, "taskq.timers", "Describe", "Write", *create, use="send tasks for later")
    yield on("send, delay(), beat", "taskq.revoked", "Describe", "Write", *create, use="revoke()")
    yield on("worker", "taskq.revoked", "Describe", "Read", use="know what was revoked")
    for command in ("worker", "beat"):
        yield from host(command, "taskq.timers", "taskq-timers", is_prefix=False)
        letters = ("Describe", "Write", *create)
        yield on(command, "taskq.timers.dlq", *letters, use="put aside what cannot be sent")
    yield from host("beat", "taskq.schedules", "taskq-beat-", is_prefix=True)
    timers, revoked = "taskq.timers", "taskq.revoked"
    yield on("revoke", revoked, "Describe", "Write", *create, use="tell the workers")
    yield on("revoke", timers, "Describe", "Read", "Write", *create, use="cancel what waits")
    for log in (timers, revoked):
        yield on("queues, find", log, "Describe", "Read", use="find what waits, or was revoked")
        yield on("topics, doctor", log, "Describe", "DescribeConfigs", use="read settings")
        yield on("topics apply", log, "Create", use="make logs")
    yield on("timers list", timers, "Describe", "Read", use="print what waits")
    for command in ("timers list", "queues, find"):
        yield Right(
            command,
            "group",
            f"{prefix}taskq-timers",
            False,
            ("Describe",),
            "know whether somebody keeps the time",
            is_optional=True,
        )
    yield on("find, dlq", f"{timers}.dlq", "Describe", "Read", use="read dead letters")
    moves, letters = "dlq redrive, dlq discard", ("Describe", "Read", "Write")
    yield on(moves, f"{timers}.dlq", *letters, use="take out letters of what waited")
    if not prefix:  # else that of all queues covers it
        id, may = f"{_REDRIVE}{timers}", ("Describe", "Write")
        yield Right(moves, "transactional-id", id, False, may, "let one command at a time do so")
    steers = ("Describe", "Read", "Write")
    yield on("schedule", "taskq.schedules", *steers, use="list, pause, resume and remove schedules")
    owners = f"{prefix}taskq-beat-"
    yield Right("schedule", "group", owners, True, ("Describe",), "know whether a beat runs")


def _of_group(group: str) -> Iterator[Right]:
    def on(command: str, *operations: str, use: str, optional: bool = False) -> Right:
        return Right(command, "group", group, False, operations, use, optional)

    yield on("worker", "Describe", "Read", use="join, and commit claims")
    yield on(
        "worker", "AlterConfigs", use="give the group a short session (KIP-848)", optional=True
    )
    yield on("queues, find", "Describe", use="know what was claimed, and by whom")
    yield on("workers", "Describe", use="print the members")
    yield on("purge", "Describe", use="count what waits")
    yield on("topics, doctor", "Describe", use="know the members")
    yield on("topics, doctor", "DescribeConfigs", use="read the group's session", optional=True)


def _of_cluster(*, auto_create: bool) -> Iterator[Right]:
    def on(command: str, *operations: str, use: str) -> Right:
        return Right(command, "cluster", CLUSTER, False, operations, use, is_optional=True)

    if auto_create:
        yield on(
            "send, delay(), beat",
            "DescribeConfigs",
            use="make topics with the right min.insync.replicas",
        )
    yield on("worker", "Describe", use="see all groups, to delete finished tasks")
    yield on("worker", "DescribeConfigs", use="know how long offsets are kept, and make topics")
    yield on(
        "topics, doctor",
        "Describe",
        "DescribeConfigs",
        use="read the brokers' settings and our rights",
    )
    yield Right(
        "topics, doctor",
        "topic",
        "__consumer_offsets",
        False,
        ("Describe",),
        "compare clocks",
        is_optional=True,
    )


def _of_reader(group: str) -> Iterator[Right]:
    for command in ("queues, find", "find, dlq", "dlq redrive, dlq discard", "beat", "schedule"):
        yield Right(command, "group", group, False, ("Describe",), "read without joining a group")
