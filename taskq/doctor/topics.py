"""Topics beside how taskq would make them: what a difference means."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from taskq.doctor.facts import Facts
from taskq.doctor.findings import Finding, note, ok, problem, softened
from taskq.printing import age, counted
from taskq.protocols import TopicStatus
from taskq.topicdifferences import differences, exists

_CHANGE = "kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {name}={wanted}"

_Check = Callable[[TopicStatus, str, str], Finding]


def topics(facts: Facts) -> Iterator[Finding]:
    """Look at each topic of a queue and of its dead letters."""
    for topic in facts.topics:
        found = list(_missing(topic, facts) if not exists(topic) else _findings(topic, facts))
        if topic.queue not in facts.ours:
            found = [softened(finding) for finding in found]
        subject = f"topic {topic.topic}"
        if found or not exists(topic):
            yield from found
        elif not topic.settings and topic.wanted.keys() - {"partitions", "replication"}:
            yield note(
                subject,
                "its settings could not be read",
                "Whether it keeps tasks until they are claimed is not known.",
                "Allow DescribeConfigs on it ('taskq doctor --acls').",
            )
        else:
            yield ok(subject, "fit for use" if differences(topic) else "as taskq makes it")


def _missing(topic: TopicStatus, facts: Facts) -> Iterator[Finding]:
    is_needed = topic.queue in facts.needed or topic.is_dead_letters
    if facts.auto_create or not is_needed:
        return
    what = (
        "dead letters stop their partition"
        if topic.is_dead_letters
        else "nothing can be sent to it"
    )
    yield problem(
        f"topic {topic.topic}",
        "does not exist, and auto_create is off",
        f"As long as it is missing, {what}.",
        "Make it: 'taskq topics apply'.",
    )


def _findings(topic: TopicStatus, facts: Facts) -> Iterator[Finding]:
    checks = _OF_DEAD_LETTERS if topic.is_dead_letters else _OF_QUEUES
    for name, (own, wanted) in differences(topic).items():
        check = checks.get(name)
        if check is not None:
            yield check(topic, own, wanted)
    yield from _replicas(topic, facts.cluster.brokers)


def _replicas(topic: TopicStatus, brokers: int) -> Iterator[Finding]:
    """Look at min.insync.replicas against the replicas, whatever taskq would have made."""
    subject, replicas = f"topic {topic.topic}", topic.replication
    least = int(topic.settings.get("min.insync.replicas", "0"))
    if replicas == 1 and brokers > 1:
        yield note(
            subject,
            f"one replica, on a cluster of {brokers} brokers",
            "When its broker is away, nothing can be sent or run; when its disk is lost, so are the tasks.",
            "Give it more replicas (kafka-reassign-partitions.sh).",
        )
    elif least > replicas > 0:
        yield problem(
            subject,
            f"min.insync.replicas={least}, with {replicas} replicas",
            "No send can ever be acknowledged.",
            _change(topic, "min.insync.replicas", str(max(1, replicas - 1))),
        )
    elif least == replicas > 1:
        yield note(
            subject,
            f"min.insync.replicas={least}, with {replicas} replicas",
            "As soon as one broker is away nothing can be sent.",
            _change(topic, "min.insync.replicas", str(replicas - 1)),
        )
    elif least == 1 and replicas > 2:
        yield note(
            subject,
            f"min.insync.replicas=1, with {replicas} replicas",
            "A task that was acknowledged can be lost with a single broker.",
            _change(topic, "min.insync.replicas", str(replicas - 1)),
        )


def _retention(topic: TopicStatus, own: str, wanted: str) -> Finding:
    return problem(
        f"topic {topic.topic}",
        f"retention.ms={own} ({age(int(own) / 1000)})",
        "Tasks that wait longer are deleted and never run.",
        _change(topic, "retention.ms", wanted),
    )


def _size(topic: TopicStatus, own: str, wanted: str) -> Finding:
    return problem(
        f"topic {topic.topic}",
        f"retention.bytes={own}",
        "When more than that waits, the oldest tasks are deleted and never run.",
        _change(topic, "retention.bytes", wanted),
    )


def _cleanup(topic: TopicStatus, own: str, wanted: str) -> Finding:
    if "compact" in own:
        return problem(
            f"topic {topic.topic}",
            f"cleanup.policy={own}",
            "Of the tasks with one key all but the last may be deleted before they run; tasks without a key are refused.",
            _change(topic, "cleanup.policy", wanted),
        )
    return note(
        f"topic {topic.topic}",
        f"cleanup.policy={own}",
        "taskq knows nothing of it.",
        _change(topic, "cleanup.policy", wanted),
    )


def _any_time(topic: TopicStatus, own: str, wanted: str) -> Finding:
    return note(
        f"topic {topic.topic}",
        f"message.timestamp.after.max.ms={own} ({age(int(own) / 1000)})",
        "A machine whose clock is ahead by more cannot send; the timers that it keeps wait until others have taken them over.",
        _change(topic, "message.timestamp.after.max.ms", wanted),
    )


def _partitions(topic: TopicStatus, own: str, wanted: str) -> Finding:
    return note(
        f"topic {topic.topic}",
        f"{counted(topic.partitions, 'partition')}; taskq would make {wanted}",
        f"At most {counted(topic.partitions, 'worker')} at a time: each still runs as many tasks at once as it has slots.",
    )


def _letters_cleanup(topic: TopicStatus, own: str, wanted: str) -> Finding:
    return note(
        f"topic {topic.topic}",
        f"cleanup.policy={own}",
        "A dead letter that was written twice, or taken out, keeps its room until it is deleted by age."
        if "compact" not in own
        else "Dead letters are never deleted by age.",
        _change(topic, "cleanup.policy", f"[{wanted}]"),
    )


def _letters_retention(topic: TopicStatus, own: str, wanted: str) -> Finding:
    kept = "for ever" if own == "-1" else f"for {age(int(own) / 1000)}"
    return note(
        f"topic {topic.topic}",
        f"dead letters are kept {kept}; dlq_retention is {age(int(wanted) / 1000)}",
        "The setting counts only for topics that taskq makes.",
        _change(topic, "retention.ms", wanted),
    )


def _letters_size(topic: TopicStatus, own: str, wanted: str) -> Finding:
    if int(own) > int(wanted):
        return ok(f"topic {topic.topic}", f"max.message.bytes={own}: room for every dead letter")
    return problem(
        f"topic {topic.topic}",
        f"max.message.bytes={own}, less than a record of its queue and its reasons may have",
        "The dead letter of a large task cannot be written; its partition then stops.",
        _change(topic, "max.message.bytes", wanted),
    )


def _change(topic: TopicStatus, name: str, wanted: str) -> str:
    return _CHANGE.format(topic=topic.topic, name=name, wanted=wanted)


_OF_QUEUES: dict[str, _Check] = {
    "retention.ms": _retention,
    "retention.bytes": _size,
    "cleanup.policy": _cleanup,
    "message.timestamp.after.max.ms": _any_time,
    "partitions": _partitions,
}

_OF_DEAD_LETTERS: dict[str, _Check] = {
    "cleanup.policy": _letters_cleanup,
    "retention.ms": _letters_retention,
    "max.message.bytes": _letters_size,
}
