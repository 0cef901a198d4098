"""Tasks that wait for their time: whether their log keeps them, and whether anybody is there to send them."""

from __future__ import annotations

from collections.abc import Iterator

from taskq.doctor.facts import Facts
from taskq.doctor.findings import Finding, note, ok, problem
from taskq.printing import age, counted
from taskq.protocols import TopicStatus
from taskq.topicdifferences import exists

OVERDUE_SECONDS = 10.0
"""A timer that is later than this is no longer just being fired: a take-over of its shard takes less."""

_NEEDS = {"taskq.revoked": {"compact", "delete"}}
_USES = {
    "taskq.revoked": "a revoked task may run",
    "taskq.timers": "nothing can be delayed, and messages with an eta stop their queue",
}


def logs(facts: Facts) -> Iterator[Finding]:
    """Look at the topics of the logs."""
    for topic in facts.logs:
        if topic.is_dead_letters:
            continue
        finding = _missing(topic, facts) if not exists(topic) else _fitness(topic)
        if finding is not None:
            yield finding


def _missing(topic: TopicStatus, facts: Facts) -> Finding | None:
    if facts.auto_create:
        return None
    return problem(
        f"log {topic.topic}",
        "does not exist, and auto_create is off",
        f"As long as it is missing, {_USES.get(topic.queue, 'it cannot be used')}.",
        "Make it: 'taskq topics apply'.",
    )


def _fitness(topic: TopicStatus) -> Finding:
    subject = f"log {topic.topic}"
    policy = topic.settings.get("cleanup.policy")
    if policy is None:
        if topic.wanted:
            return note(
                subject,
                "its settings could not be read",
                "Whether it keeps what waits is not known.",
            )
        return ok(subject, counted(topic.partitions, "partition"))
    policies = {each.strip() for each in policy.split(",")}
    wanted = topic.wanted.get("cleanup.policy", "compact")
    allowed = _NEEDS.get(topic.queue, {"compact"})
    if "compact" not in policies or not policies <= allowed:
        return problem(
            subject,
            f"cleanup.policy={policy}",
            f"It is refused, because it would lose or keep the wrong records: {_USES.get(topic.queue, 'it cannot be used')}.",
            f"kafka-configs.sh --alter --entity-type topics --entity-name {topic.topic} "
            f"--add-config 'cleanup.policy=[{wanted}]'",
        )
    return ok(
        subject, f"fit for use, {counted(topic.partitions, 'partition')} (never to be changed)"
    )


def timers(facts: Facts) -> Iterator[Finding]:
    """Look at what waits, and who would send it."""
    if facts.timers is None:
        return
    waits, overdue = facts.timers.waiting, facts.timers.overdue_seconds
    their = "waits for its" if waits == 1 else "wait for their"
    what = f"{counted(waits, 'task')} {their} time"
    if overdue is not None and overdue > OVERDUE_SECONDS:
        yield problem(
            "timers",
            f"{what}; the first is {age(overdue)} overdue",
            "Nobody sends it: no process has its shard, or the clock of the one that has it is behind this machine's.",
            "Start a worker (without --no-timers) or a beat; look at their logs, and at the clocks of both machines.",
        )
    elif waits and facts.owners and facts.owners.is_told and not facts.owners.members:
        yield problem(
            "timers",
            f"{what}, and no process is there to send them",
            "They are late from the moment that they are due.",
            "Start a worker (without --no-timers) or a beat.",
        )
    else:
        yield ok("timers", what)
