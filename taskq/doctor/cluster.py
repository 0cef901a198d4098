"""The cluster itself: its version, what a killed worker costs, how long a group's place is remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from taskq.doctor.facts import Facts
from taskq.doctor.findings import Finding, note, ok, problem
from taskq.printing import counted

VERIFICATION = "transaction.partition.verification.enable"
"""Came with Kafka 3.6 (KIP-890): without it a transaction that hangs keeps every reader waiting, for ever."""

MIN_SESSION = "group.consumer.min.session.timeout.ms"
"""Came with the consumer protocol (KIP-848), as did the next one."""

MIN_HEARTBEAT = "group.consumer.min.heartbeat.interval.ms"
CLASSIC_MIN_SESSION = "group.min.session.timeout.ms"
PROTOCOLS = "group.coordinator.rebalance.protocols"
RETENTION = "offsets.retention.minutes"

LONG_SESSION = 15.0
"""Seconds that a killed worker's partitions may stand still before it is worth a note."""

SHORT_RETENTION = 1440
"""Minutes; what is below means that a weekend without workers forgets what was claimed."""

_MAY_NOT_KNOW = "The rights to read it are missing, or this is an embedded broker ('taskq dev'), which has no settings"


def broker(facts: Facts) -> Iterator[Finding]:
    """Say who answers."""
    yield ok("broker", f"{counted(facts.cluster.brokers, 'broker')} at {facts.address}")


def version(facts: Facts) -> Iterator[Finding]:
    """Look for what only newer versions have: brokers do not tell their version itself."""
    settings = facts.cluster.settings
    if settings is None:
        yield note(
            "version",
            "not known: the broker's settings could not be read",
            f"{_MAY_NOT_KNOW}.",
            "Allow DescribeConfigs on the cluster ('taskq doctor --acls').",
        )
        return
    verification = settings.get(VERIFICATION)
    if verification is None:
        yield problem(
            "version",
            "older than Kafka 3.6",
            "Transactions of a process that was killed can hang and keep all readers of a queue waiting for ever.",
            "Upgrade the brokers to 3.6 or later.",
        )
    elif verification != "true":
        yield problem(
            "version",
            f"Kafka 3.6 or later, with {VERIFICATION}={verification}",
            "Transactions of a process that was killed can hang and keep all readers of a queue waiting for ever.",
            f"Set {VERIFICATION}=true on the brokers.",
        )
    elif _has_consumer_protocol(settings):
        yield ok("version", "Kafka 3.6 or later, with the consumer protocol (KIP-848)")
    else:
        yield ok("version", "Kafka 3.6 or later, without the consumer protocol (KIP-848)")


def session(facts: Facts) -> Iterator[Finding]:
    """Say for how long a killed worker's partitions stand still."""
    settings = facts.cluster.settings
    wanted = facts.session_timeout
    protocol = _protocol(facts)
    if not protocol:
        yield note(
            "session", "not known: the broker's settings could not be read", f"{_MAY_NOT_KNOW}."
        )
        return
    if protocol == "consumer":
        yield _consumer_session(facts)
        return
    least = _seconds(settings or {}, CLASSIC_MIN_SESSION)
    if least is not None and least > wanted:
        yield problem(
            "session",
            f"the broker allows no session below {least:g} s, and session_timeout is {wanted:g} s",
            "Workers of the classic protocol cannot join.",
            f"Set session_timeout to {least:g} or more, or lower {CLASSIC_MIN_SESSION} on the brokers.",
        )
        return
    told = f"protocol classic: a killed worker's tasks wait {wanted:g} s for another worker"
    if settings is not None and _has_consumer_protocol(settings):
        yield note(
            "session",
            told,
            "The consumer protocol (KIP-848) would join in a tenth of a second instead of three; the broker allows it no session "
            "that is short enough.",
            f"Set {MIN_SESSION}={wanted * 1000:.0f} and {MIN_HEARTBEAT}=500 on the brokers, and restart all workers.",
        )
    else:
        yield ok("session", told)


def offsets(facts: Facts) -> Iterator[Finding]:
    """Say for how long the group's place is kept while no worker is there."""
    text = (facts.cluster.settings or {}).get(RETENTION)
    if text is None:
        return
    minutes = int(text)
    told = (
        f"the workers' place in the queues is kept {_span(minutes)} after the last worker has left"
    )
    if minutes >= SHORT_RETENTION:
        yield ok("offsets", told)
        return
    yield note(
        "offsets",
        told,
        "After that, tasks that are older go to the dead letters as offset_expired: nobody knows whether they ran.",
        f"Raise {RETENTION} on the brokers (Kafka's default is 10080, a week).",
    )


def _protocol(facts: Facts) -> str:
    """Return the protocol that workers speak, or would choose; empty where that cannot be told."""
    if facts.group.protocol and facts.group.members:
        return facts.group.protocol
    if facts.group_protocol != "auto":
        return facts.group_protocol
    settings = facts.cluster.settings
    if settings is None:
        return ""
    least = _seconds(settings, MIN_SESSION)
    short = least is not None and least <= facts.session_timeout
    return "consumer" if short and _has_consumer_protocol(settings) else "classic"


def _consumer_session(facts: Facts) -> Finding:
    """Say what the consumer protocol's session is: the group's own, if it has been set, else the brokers'."""
    settings = facts.cluster.settings or {}
    group = facts.cluster.group_settings
    current = _seconds(group, "consumer.session.timeout.ms")
    if not facts.group.members:
        least = _seconds(settings, MIN_SESSION)
        if least is not None and least <= facts.session_timeout:
            current = facts.session_timeout  # which the first worker sets
    if current is None:
        return note("session", "protocol consumer, session not known", f"{_MAY_NOT_KNOW}.")
    told = f"protocol consumer: a killed worker's tasks wait {current:g} s for another worker"
    if current <= LONG_SESSION:
        return ok("session", told)
    least_told = settings.get(MIN_SESSION)
    return note(
        "session",
        told,
        "A task that waits on its partitions is late by so much"
        + (f"; the broker allows {least_told} ms at the least." if least_told else "."),
        f"Set {MIN_SESSION}={facts.session_timeout * 1000:.0f} and {MIN_HEARTBEAT}=500 on the brokers; "
        "the next worker that starts sets the group's session.",
    )


def _has_consumer_protocol(settings: Mapping[str, str]) -> bool:
    listed = settings.get(PROTOCOLS)
    if listed is None:
        return MIN_SESSION in settings
    return "consumer" in listed.split(",")


def _seconds(settings: Mapping[str, str], name: str) -> float | None:
    text = settings.get(name)
    return None if text is None else int(text) / 1000


def _span(minutes: int) -> str:
    if minutes % 1440 == 0:
        return counted(minutes // 1440, "day")
    return counted(minutes // 60, "hour") if minutes % 60 == 0 else counted(minutes, "minute")
