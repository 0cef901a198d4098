"""What an operator or a worker asks of the brokers, and making topics: one object for all of it.

Each subject is a file of its own: topicmaker.py, logtopics.py, backlog.py, trimming.py, members.py, search.py, clusterview.py. Any
thread may call; every call blocks, at most `timeout` seconds, and ends with an error of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from .backlog import Backlog, QueueStatus
from .clusterview import ClusterStatus, ClusterView
from .deadletters import StoredDeadLetter
from .errors import AuthenticationFailed
from .groups import Groups
from .heldup import HeldPartition, HeldUp
from .letterreader import LetterReader
from .logtopics import LogTopics
from .members import GroupStatus, Members
from .mover import Mover
from .options import TransportOptions
from .questions import Questions
from .reader import Reader
from .records import Record
from .refusal import is_refused
from .search import Found, FoundRecord, Search
from .shared import shared
from .steps import sources_of
from .topicmaker import TopicMaker, TopicStatus
from .topics import dlq_queue_of, queue_of, source_of_topic, topic_of
from .trimming import Trimmer

ATTEMPT: Final = 0.5
"""Seconds of one attempt of `check`: between two it looks whether the broker refuses us, which no waiting will change."""


class Admin:
    """The admin of a process for one configuration: a client, and a reader beside it."""

    def __init__(self, options: TransportOptions, *, now: Callable[[], float] = time.time) -> None:
        """Build it; nothing is connected yet.

        Args:
            options: The connection's options.
            now: Seconds since 1970, which ages are counted from.
        """
        self._options = options
        self._questions = Questions(options)
        self._client = self._questions.client
        self._reader = Reader(options)
        self._letters = LetterReader(options, self._questions, self._reader)
        self._topics = TopicMaker(options, self._questions)
        self._logs = LogTopics(options, self._questions, self._topics)
        self._members = Members(options, self._questions)
        self._backlog = Backlog(options, self._questions, self._members, self._reader, now)
        self._trimmer = Trimmer(options, self._questions, self._members, self._backlog.delete, now)
        self._search = Search(options, self._questions, self._members, self._reader)
        self._cluster = ClusterView(options, self._questions)
        self._held_up = HeldUp(options, self._questions)
        self._is_bare: bool | None = None
        """Whether it is librdkafka's mock cluster, once that was asked."""

    @classmethod
    def shared(cls, options: TransportOptions) -> Admin:
        """Return this process's admin for these options."""
        return shared(cls, options)

    def check(self, *, timeout: float, refused_after: float | None = None) -> None:
        """Return when a broker has answered; a refused login ends it at once.

        Args:
            timeout: Seconds for an answer.
            refused_after: Seconds after which it waits no longer if each address refuses the connection; None: it does.

        Raises:
            BrokerUnreachable: None did in that time.
        """
        began = time.monotonic()
        deadline = began + timeout
        while True:
            remaining = deadline - time.monotonic()
            try:
                self._questions.metadata(
                    topic_of(self._options.prefix, "taskq.check"), min(ATTEMPT, remaining)
                )
                return
            except AuthenticationFailed:
                raise
            except ConnectionError:
                if remaining <= ATTEMPT:
                    raise
                is_enough = refused_after is not None and time.monotonic() - began >= refused_after
                if is_enough and is_refused(self._options.bootstrap):
                    raise

    # -- topics

    def create_queue(self, queue: str, *, timeout: float) -> None:
        """Make a queue's topic, and wait until it has leaders; one that exists is used as it is.

        Raises:
            TopicInvalid: Kafka would not take the name.
            TaskqKafkaError: The broker did not make it.
        """
        self._topics.create_queue(queue, timeout=timeout)

    def create_dead_letter_topic(self, queue: str, *, timeout: float) -> None:
        """Make the topic of a queue's dead letters, with room for the largest record of the queue.

        Raises:
            TaskqKafkaError: The broker did not make it.
        """
        self._topics.create_dead_letter_topic(queue, timeout=timeout)

    def topics(self, queues: Sequence[str], *, timeout: float) -> Sequence[TopicStatus]:
        """Return how the topics of these queues, of their steps and dead letters stand; see `TopicMaker.statuses`."""
        return self._topics.statuses(queues, timeout=timeout)

    def log_topics(self, logs: Sequence[str], *, timeout: float) -> Sequence[TopicStatus]:
        """Return how the topics of these logs stand, also of those that do not exist."""
        return self._topics.log_statuses(logs, timeout=timeout)

    def create_log(self, log: str, *, timeout: float) -> None:
        """Make a log's topic with its settings; one that exists is used as it is."""
        self._topics.create_log(log, timeout=timeout)

    def log_partitions(self, log: str, *, timeout: float) -> int:
        """Return how many partitions a log has; 0 if it has no topic."""
        return self._logs.partitions(log, timeout=timeout)

    def ready_log(self, log: str, uses: frozenset[str], *, timeout: float) -> int:
        """Make a log's topic if it is missing, see that it is fit for uses, and return its partitions; see `LogTopics.ready`."""
        return self._logs.ready(log, uses, timeout=timeout)

    def queues(self, *, timeout: float) -> Sequence[str]:
        """Return the names of all queues, sorted, also of those that have a topic for a priority step only."""
        return self._names(queue_of, timeout)

    def sources(self, *, timeout: float) -> Sequence[str]:
        """Return the names of all queues and of their priority steps (QUEUE.pN) that have topics, sorted."""
        return self._names(source_of_topic, timeout)

    def sources_of(self, queue: str, *, timeout: float) -> Sequence[str]:
        """Return those names for one queue, the highest step first."""
        there = self.sources(timeout=timeout)
        return [source for source in sources_of(queue) if source in there]

    def existing(self, sources: Sequence[str], *, timeout: float) -> Sequence[str]:
        """Return those of some queues and priority steps that have a topic; what we may not look at is left out.

        They are asked for one by one, since a cluster may have ten thousand others. librdkafka's mock cluster makes what it is
        asked for by name, so that one is asked for all.
        """
        deadline = time.monotonic() + timeout
        if self._is_bare is None:
            self._is_bare = self._questions.is_bare(deadline)
        if self._is_bare:
            there = self.sources(timeout=deadline - time.monotonic())
            return [source for source in sources if source in there]
        return [source for source in sources if self._is_there(source, deadline)]

    def _is_there(self, source: str, deadline: float) -> bool:
        topic = topic_of(self._options.prefix, source)
        try:
            return bool(self._questions.partitions(topic, deadline - time.monotonic()))
        except PermissionError:
            return False  # also of a topic that does not exist, where access rules name each

    def dead_letter_queues(self, *, timeout: float) -> Sequence[str]:
        """Return the names of the queues that have a dead-letter topic, sorted."""
        return self._names(dlq_queue_of, timeout)

    def _names(self, name_of: Callable[[str, str], str | None], timeout: float) -> list[str]:
        """Return the sorted names that a function gives to the cluster's topics."""
        topics = self._questions.metadata(None, timeout).topics
        names = (name_of(self._options.prefix, topic) for topic in topics)
        return sorted({name for name in names if name is not None})

    # -- what waits, and who takes it

    def queue_status(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Sequence[QueueStatus]:
        """Return how queues stand; a queue that does not exist is left out."""
        return self._backlog.queue_status(queues, group=group, timeout=timeout)

    def partition_counts(self, queues: Sequence[str], *, timeout: float) -> Mapping[str, int]:
        """Return how many partitions each queue has; a queue that does not exist is left out."""
        return self._backlog.partition_counts(queues, timeout=timeout)

    def worker_counts(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Mapping[str, int]:
        """Return how many members of a group hold a partition of each queue."""
        prefix, deadline = self._options.prefix, time.monotonic() + timeout
        workers = self._members.workers_by_topic(prefix + group, deadline)
        return {queue: workers.get(topic_of(prefix, queue), 0) for queue in queues}

    def group_protocol(self) -> str:
        """Return what the group of these options speaks, `consumer` or `classic`; decided once a process."""
        return shared(Groups, self._options).protocol()

    def group(self, group: str, *, timeout: float) -> GroupStatus:
        """Return who is in a group; one that does not exist has no members."""
        return self._members.status(group, time.monotonic() + timeout)

    def purge(self, queue: str, *, group: str, timeout: float) -> int:
        """Delete all records of a queue and its steps for every group; return how many of them this group had not claimed.

        A worker still runs what it had fetched before.
        """
        deadline = time.monotonic() + timeout
        sources = self.sources_of(queue, timeout=timeout)
        return self._backlog.purge(sources, group=group, timeout=deadline - time.monotonic())

    def trim(self, queues: Sequence[str], *, keep: float, timeout: float) -> Mapping[str, int]:
        """Delete what every group has finished and was sent more than `keep` seconds ago; see `Trimmer.trim`."""
        return self._trimmer.trim(queues, keep=keep, timeout=timeout)

    # -- dead letters

    def dead_letters(self, queue: str, *, timeout: float) -> Sequence[StoredDeadLetter]:
        """Return the dead letters of a queue, oldest first; none if it has no dead-letter topic."""
        return self._letters.read(queue, timeout=timeout)

    def move_dead_letters(self, queue: str, *, timeout: float) -> Mover:
        """Return a mover of a queue's dead letters, which is the only one from now on; close it in the end."""
        mover = Mover(self._options, self._questions, self._letters, self._topics, queue=queue)
        mover.open(timeout=timeout)
        return mover

    # -- single records

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
        """Return the records of queues that a function recognizes, in the order of their sending; see `Search.find`."""
        return self._search.find(
            queues, matches, group=group, since_ms=since_ms, until_ms=until_ms, timeout=timeout
        )

    def record_at(
        self, queue: str, partition: int, offset: int, *, group: str, timeout: float
    ) -> FoundRecord | None:
        """Return one record; None where there never was one."""
        return self._search.at(queue, partition, offset, group=group, timeout=timeout)

    # -- the cluster

    def cluster(self, *, group: str, timeout: float) -> ClusterStatus:
        """Return how the cluster is set up."""
        return self._cluster.status(group, time.monotonic() + timeout)

    def held_up(self, topics: Sequence[str], *, timeout: float) -> Sequence[HeldPartition]:
        """Return the partitions of topics, by Kafka's names, in which a transaction is open now."""
        return self._held_up.find(topics, time.monotonic() + timeout)

    def rights(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Mapping[tuple[str, str], frozenset[str]]:
        """Return what we may do: operations by resource, such as `("topic", "billing")`; what nobody tells is left out."""
        return self._cluster.rights(queues, group, time.monotonic() + timeout)

    def newest_commit_ms(self, *, timeout: float) -> int | None:
        """Return when a broker last wrote a commit of any group, by its own clock; None where nobody tells."""
        return self._cluster.newest_commit_ms(time.monotonic() + timeout)
