"""Questions to the log, and making queues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from taskq.memory.cluster import Cluster
from taskq.memory.logs import LETTERS
from taskq.memory.mover import Mover
from taskq.memory.options import MemoryOptions
from taskq.memory.search import record_at, records
from taskq.protocols import (
    ClusterStatus,
    Found,
    FoundRecord,
    GroupMember,
    GroupStatus,
    HeldPartition,
    QueueStatus,
    Record,
    StoredDeadLetter,
    TopicStatus,
)
from taskq_kafka.steps import queue_of_source, sources_of, step_of_source


class Admin:
    """A `taskq.protocols.Admin`. Any thread may call it; nothing blocks, so timeouts mean nothing."""

    def __init__(self, cluster: Cluster, options: MemoryOptions) -> None:
        """Ask this cluster."""
        self._cluster = cluster
        self._options = options

    def check(self, *, timeout: float, refused_after: float | None = None) -> None:
        """Return: the broker is here."""

    def create_queue(self, queue: str, *, timeout: float) -> None:
        """Make a queue; one that exists is used as it is.

        Raises:
            QueueNameInvalid: Kafka would not take the name.
        """
        topic = self._options.topic_of(queue)
        with self._cluster.waking() as log:
            log.create(topic, self._options.partitions)

    def queues(self, *, timeout: float) -> list[str]:
        """Return the names of all queues, sorted."""
        return sorted(set(map(queue_of_source, self.sources(timeout=timeout))))

    def sources(self, *, timeout: float) -> list[str]:
        """Return the names of all queues and priority steps (QUEUE.pN), sorted."""
        with self._cluster.locked() as log:
            return self._without_prefix(log.topics)

    def existing(self, sources: Sequence[str], *, timeout: float) -> list[str]:
        """Return those of some queues and priority steps that exist."""
        with self._cluster.locked() as log:
            return [each for each in sources if self._options.topic_of(each) in log.topics]

    def queue_status(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> list[QueueStatus]:
        """Return how queues stand; a queue that does not exist is left out."""
        with self._cluster.locked():
            found = (self._status(queue, group) for queue in queues)
            return [status for status in found if status is not None]

    def _status(self, queue: str, group_name: str) -> QueueStatus | None:
        with self._cluster.locked() as log:
            topic = log.topics.get(self._options.topic_of(queue))
            if topic is None:
                return None
            group = topic.group(self._options.prefix + group_name)
            oldest_ms = group.oldest_ms()
            age = None if oldest_ms is None else (self._cluster.now_ms() - oldest_ms) / 1000
            workers = sum(bool(member.holds) for member in group.members)
            return QueueStatus(queue, len(topic.partitions), group.lag(), age, workers)

    def partition_counts(self, queues: Sequence[str], *, timeout: float) -> dict[str, int]:
        """Return how many partitions each queue has; a queue that does not exist is left out."""
        statuses = self.queue_status(queues, group=self._options.group, timeout=timeout)
        return {status.queue: status.partitions for status in statuses}

    def worker_counts(self, queues: Sequence[str], *, group: str, timeout: float) -> dict[str, int]:
        """Return how many members of a group hold a partition of each queue."""
        statuses = self.queue_status(queues, group=group, timeout=timeout)
        workers = {status.queue: status.workers for status in statuses}
        return {queue: workers.get(queue, 0) for queue in queues}

    def group_protocol(self) -> str:
        """Return nothing: there is no choice."""
        return ""

    def dead_letter_queues(self, *, timeout: float) -> list[str]:
        """Return the names of the queues that have had a dead letter, sorted."""
        with self._cluster.locked() as log:
            return self._without_prefix(log.dead)

    def dead_letters(self, queue: str, *, timeout: float) -> list[StoredDeadLetter]:
        """Return the dead letters of a queue, oldest first."""
        with self._cluster.locked() as log:
            letters = log.dead.get(self._options.prefix + queue, {}).values()
            return sorted(letters, key=lambda letter: (letter.timestamp_ms, letter.id))

    def move_dead_letters(self, queue: str, *, timeout: float) -> Mover:
        """Return a mover of a queue's dead letters, which is the only one from now on."""
        return Mover(self._cluster, self._options, queue)

    def create_dead_letter_topic(self, queue: str, *, timeout: float) -> None:
        """Make the place of a queue's dead letters."""
        with self._cluster.locked() as log:
            is_ours = queue == LETTERS  # as on Kafka: what is no queue's has letters, too
            topic = self._options.prefix + queue if is_ours else self._options.topic_of(queue)
            log.dead.setdefault(topic, {})

    def topics(self, queues: Sequence[str], *, timeout: float) -> list[TopicStatus]:
        """Return whether the topics of these queues and of their dead letters exist; there are no settings here."""
        with self._cluster.locked() as log:
            found = []
            for queue in dict.fromkeys(map(queue_of_source, queues)):
                for source in reversed(sources_of(queue)):
                    name, step = self._options.topic_of(source), step_of_source(source)
                    topic = log.topics.get(name)
                    if topic is None and step and source not in queues:
                        continue
                    partitions = 0 if topic is None else len(topic.partitions)
                    wanted = {"partitions": str(self._options.partitions)}
                    replicas = min(partitions, 1)
                    found.append(
                        TopicStatus(queue, name, False, partitions, replicas, {}, wanted, step=step)
                    )
                name = self._options.topic_of(queue)
                dead = 1 if name in log.dead else 0
                found.append(TopicStatus(queue, name + ".dlq", True, dead, dead, {}, {}))
            return found

    def log_topics(self, logs: Sequence[str], *, timeout: float) -> list[TopicStatus]:
        """Return nothing: a log is made when it is used, and has no settings."""
        return []

    def create_log(self, log: str, *, timeout: float) -> None:
        """Do nothing: a log is made when it is used."""

    def group(self, group: str, *, timeout: float) -> GroupStatus:
        """Return who is in a group; one that does not exist has no members."""
        name = self._options.prefix + group
        found: list[GroupMember] = []
        with self._cluster.locked() as log:
            for topic in log.topics.values():
                for place, member in enumerate(topic.group(name).members):
                    holds = {member.queue: sorted(member.holds)} if member.holds else {}
                    id = f"{member.queue}-{place}"
                    found.append(GroupMember(id, "memory", "memory", holds))
        return GroupStatus(name, "consumer" if found else "", found)

    def find_records(
        self,
        queues: Sequence[str],
        matches: Callable[[Record], bool],
        *,
        group: str,
        since_ms: int | None,
        until_ms: int | None,
        timeout: float,
    ) -> Found:
        """Return the records of queues that a function recognizes, in the order of their sending."""
        searched = 0
        found: list[FoundRecord] = []
        with self._cluster.locked() as log:
            for queue in queues:
                topic = log.topics.get(self._options.topic_of(queue))
                if topic is None:
                    continue
                standing = topic.group(self._options.prefix + group)
                span = records(topic, standing, queue, since_ms=since_ms, until_ms=until_ms)
                for record in span:
                    searched += 1
                    if matches(record):
                        at = record_at(topic, standing, queue, record.partition, record.offset)
                        found += [] if at is None else [at]
        return Found(sorted(found, key=_sending), searched)

    def record_at(
        self, queue: str, partition: int, offset: int, *, group: str, timeout: float
    ) -> FoundRecord | None:
        """Return one record; None where there never was one."""
        with self._cluster.locked() as log:
            topic = log.topics.get(self._options.topic_of(queue))
            if topic is None:
                return None
            standing = topic.group(self._options.prefix + group)
            return record_at(topic, standing, queue, partition, offset)

    def purge(self, queue: str, *, group: str, timeout: float) -> int:
        """Delete all records of a queue and its steps for every group; return how many of them this group had not claimed."""
        waiting = 0
        with self._cluster.waking() as log:
            for source in sources_of(queue):
                topic = log.topics.get(self._options.topic_of(source))
                if topic is not None:
                    waiting += topic.group(self._options.prefix + group).lag()
                    topic.purge()
        return waiting

    def trim(self, queues: Sequence[str], *, keep: float, timeout: float) -> dict[str, int]:
        """Delete nothing: all of it ends with the process."""
        return {}

    def cluster(self, *, group: str, timeout: float) -> ClusterStatus:
        """Return that there is one broker, without settings."""
        return ClusterStatus(1, None, {})

    def rights(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> dict[tuple[str, str], frozenset[str]]:
        """Return nothing: there are no rights here, everything is allowed."""
        return {}

    def held_up(self, topics: Sequence[str], *, timeout: float) -> list[HeldPartition]:
        """Return nothing: a transaction is one step here."""
        return []

    def newest_commit_ms(self, *, timeout: float) -> int | None:
        """Return None: the clock is this process's."""
        return None

    def _without_prefix(self, topics: Iterable[str]) -> list[str]:
        prefix = self._options.prefix
        return sorted(topic[len(prefix) :] for topic in topics if topic.startswith(prefix))


def _sending(found: FoundRecord) -> tuple[int, int, int]:
    return (
        (-1 if found.record is None else found.record.timestamp_ms),
        found.partition,
        found.offset,
    )
