"""All checks, in the order in which a person would want to know."""

from __future__ import annotations

from taskq.doctor.clock import clock
from taskq.doctor.cluster import broker, offsets, session, version
from taskq.doctor.facts import Facts
from taskq.doctor.findings import Finding
from taskq.doctor.queues import dead_letters, queues, spare_members
from taskq.doctor.rights import rights
from taskq.doctor.schedules import schedules
from taskq.doctor.timers import logs, timers
from taskq.doctor.topics import topics
from taskq.doctor.transactions import transactions

_CHECKS = (
    broker,
    version,
    session,
    offsets,
    clock,
    rights,
    topics,
    logs,
    timers,
    schedules,
    transactions,
    queues,
    spare_members,
    dead_letters,
)


def examine(facts: Facts) -> list[Finding]:
    """Return what all checks say."""
    return [finding for check in _CHECKS for finding in check(facts)]
