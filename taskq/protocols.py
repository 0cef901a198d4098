"""What taskq asks of a transport, as Protocols.

A kombu transport that taskq can run on gives these things: its channels are `IntakeChannel`, and it carries a `publisher` and
an `admin` as attributes (`connection.transport.publisher`). `taskq_kafka` implements them on Kafka, `taskq.memory` in one
process. That of `taskq_kafka` also has `start_embedded() -> EmbeddedBroker`. Nothing here does anything.

Errors: a transport raises its own errors; those that mean "the broker cannot be reached" derive from `ConnectionError`, those that
mean "what was asked is wrong" from `ValueError`. `taskq.broker` turns them into ours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from taskq.timing.shards import Write

HeaderList = Sequence[tuple[str, "bytes | None"]]
"""Headers as they stand on a record: names may repeat, values are bytes or null."""


class Record(Protocol):
    """One record of a queue, raw, as it was fetched."""

    @property
    def queue(self) -> str:
        """The name of the queue, or of its priority step (QUEUE.pN), without the prefix of its topic."""

    @property
    def partition(self) -> int:
        """The partition's number."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""

    @property
    def timestamp_ms(self) -> int:
        """When it was sent, in milliseconds since 1970; -1 where the record has none."""

    @property
    def key(self) -> bytes | None:
        """What orders it; None where it may stand in any partition."""

    @property
    def value(self) -> bytes | None:
        """The body as it stands there; None is a null record."""

    @property
    def headers(self) -> HeaderList:
        """The headers as they stand there."""

    @property
    def delivery_tag(self) -> int:
        """Names this delivery on its channel; made on receipt, never reused."""

    @property
    def redelivered(self) -> bool:
        """Whether it is known to have been delivered before."""

    @property
    def deliveries(self) -> int:
        """How often a function that settles it afterwards was given it before; those of early settled ones nobody counts."""

    @property
    def deaths(self) -> int:
        """How many processes died with it, and with nothing else at work."""

    @property
    def is_suspect(self) -> bool:
        """Whether it was at work when a process died, perhaps of it."""

    @property
    def lived(self) -> bool:
        """Whether it was alone at work for a good while once, and its process lived: other suspects are likelier to be guilty."""

    @property
    def offset_expired(self) -> bool:
        """Whether the group's offsets were gone and it is so old that an earlier worker may have run it."""


class Outgoing(NamedTuple):
    """One record to be written to a queue. A tuple, because one is made for every task that is sent."""

    queue: str
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is put aside, and the `dlq-*` headers that say why (names without the `dlq-` prefix are not added)."""

    record: Record
    headers: Sequence[tuple[str, bytes]]


class Publisher(Protocol):
    """Writes records. One a process; any thread may call it."""

    def publish(
        self, messages: Sequence[Outgoing], *, timeout: float
    ) -> Sequence[Exception | None]:
        """Write records and wait until the broker has acknowledged each, at most `timeout` seconds for all.

        Returns:
            For each message None, or the error. An error means unknown, not unsent, unless its attribute `sent` is False.
        """

    def dead_letters(
        self, letters: Sequence[DeadLetter], *, timeout: float
    ) -> Sequence[Exception | None]:
        """Write dead letters (each to its queue's dead-letter topic), as `publish` does."""


@dataclass(frozen=True, slots=True)
class IntakeStatus:
    """What a channel knows about its place in the consumer group, without asking the broker."""

    partitions: Sequence[int] = ()
    member: bool = False
    """Whether the channel is in the group at all: False before `listen` and after `leave`."""

    assigned: bool = False
    """Whether an assignment has arrived since it joined; it may be empty."""

    lag: int = 0
    """Records that wait on the own partitions, as far as fetches have told."""

    group: str = ""
    protocol: str = ""
    """`consumer` (KIP-848) or `classic`; empty where there is no choice."""

    blocked: Mapping[int, int] = field(default_factory=dict)
    """Partitions of which no more is taken, because too much is finished above an unfinished record, whose offset this is."""

    refused: Sequence[int] = ()
    """Partitions of which no more is taken, because their commits are refused."""


@dataclass(frozen=True, slots=True)
class Rebalance:
    """Partitions that came or went. `kind` is `assigned`, `revoked` or `lost`."""

    kind: str
    partitions: Sequence[int]


class IntakeChannel(Protocol):
    """A kombu channel with the batch verbs of the worker's hot path. One thread owns it and makes every call."""

    def listen(
        self,
        queue: str,
        *,
        on_rebalance: Callable[[Rebalance], None] | None = None,
        before_revoke: Callable[[Collection[int]], None] = ...,
    ) -> None:
        """Join the group on a queue (made if it is missing); returns before an assignment has arrived.

        `on_rebalance` is called inside `fetch` (or `leave`), must return at once and must not call the channel. `before_revoke` is
        called inside them while partitions are still ours that are to be given up in order. It may wait a little, and of the
        channel call `settle` only: what it settles is committed before they go.
        """

    def fetch(self, limit: int, timeout: float) -> Sequence[Record]:
        """Return what has arrived, at most `limit` records; waits up to `timeout` seconds for the first only.

        Call it at least every few seconds, also while paused: it serves heartbeats' limits and rebalances. While paused it returns
        nothing. Records that were fetched and not claimed are void after a rebalance takes their partition.
        """

    def held(self, tags: Iterable[int]) -> set[int]:
        """Return those of the delivery tags that are still ours to claim (no rebalance has voided them)."""

    def claim(
        self,
        tags: Sequence[int],
        *,
        start: Collection[int] = ...,
        alone: Collection[int] = ...,
        give_up: Callable[[], bool] = ...,
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Commit exactly these records and wait for the broker's yes: `(granted, refused)`, delivery tags.

        Granted records are ours to run, once; nobody else will get them, also if this process dies now (then they are lost).
        Refused ones must not run; they have been given back and will come again, here or at another member. Repeats a commit
        that got no answer until there is one, however long the broker is away. What was settled before goes with the same commit.

        Args:
            tags: What is claimed.
            start: Those of them that are to be settled after their run (late acks). They are marked as at work, and counted as
                delivered once more. They come again if this process dies, or loses their partition.
            alone: Those of these beside which nothing else is at work in their process: if it dies, it died of them.
            give_up: Asked while there is no answer.

        Raises:
            ClaimGivenUp: `give_up()` became true before there was an answer (a subclass of ConnectionError with `tags`): whether
                the broker took the commit is unknown. They must not run.
        """

    def move(
        self,
        tags: Sequence[int],
        writes: Sequence[Write],
        *,
        give_up: Callable[[], bool] = ...,
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Write a record to a log in the place of each of these and settle it, all in one transaction: `(granted, refused)`.

        Nobody sees the one without the other. Of refused records nothing was written; they have been given back, as by `claim`. A
        channel may refuse its first moves without a reason: they are moved when they come again.

        Raises:
            ClaimGivenUp: `give_up()` became true before there was an answer. Each was moved, or comes again; here all are void.
            ConnectionError: No broker answered. Nothing was moved, and all are still ours.
            ValueError: One of the records cannot be written, so nothing was moved, and all are still ours.
            LookupError: The log has no topic; nothing was moved.
            PermissionError: We have not the right; nothing was moved.
        """

    def settle(self, tags: Sequence[int]) -> None:
        """Conclude records after the run (late acks); they are committed with the next fetch, claim or close."""

    def release(self, tags: Sequence[int], *, died: bool = False) -> None:
        """Give unclaimed or started records back: they will be fetched again, by this member or another.

        With `died` it is kept that a process died with each of them, and with nothing else at work.
        """

    def keep_company(self, tags: Sequence[int]) -> None:
        """Have it committed that started records are not alone at work any more."""

    def commit(self) -> bool:
        """Commit what is settled now; what gets no answer (False) stays for the next fetch, claim or close."""

    def pause(self) -> None:
        """Fetch nothing more; what was prefetched is thrown away and fetched again after `resume`."""

    def resume(self) -> None:
        """Fetch again, at once."""

    def pass_over(self, partitions: Collection[int], reason: str) -> None:
        """Fetch nothing more from these of the own partitions, and again from others that were passed over for this reason only.

        What was prefetched of them is thrown away, as by `pause`. A rebalance that brings a partition brings it to be fetched from.

        Args:
            partitions: All that are to be passed over.
            reason: Any word; each has its own partitions.
        """

    def leave(self) -> None:
        """Leave the group: unclaimed records are void, other members take over the partitions. `rejoin` undoes it."""

    def rejoin(self) -> None:
        """Join the group again after `leave`."""

    def status(self) -> IntakeStatus:
        """Return the place in the group; asks the broker only for the lag while paused."""

    def other_members(self) -> int:
        """Ask the broker how many other members of the group listen to this queue. Blocks for one round trip."""

    def close(self) -> None:
        """Commit what is settled and leave the group. What was started and is not settled comes again, and is no suspect."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How a queue stands, for one consumer group."""

    queue: str
    """Its name, or that of a priority step (QUEUE.pN)."""

    partitions: int
    lag: int
    """Records that no member of the group has claimed, summed over partitions."""

    oldest_age: float | None
    """Age in seconds of the oldest waiting record; None where none waits."""

    workers: int
    """Members of the group that hold a partition of it."""


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter as it stands in its topic."""

    id: str
    """QUEUE/PARTITION/OFFSET of its source record."""

    queue: str
    value: bytes | None
    headers: HeaderList = field(default_factory=tuple)
    """The source record's own headers and the `dlq-*` ones."""

    timestamp_ms: int = -1

    partition: int = -1
    """Where it stands in the topic of the dead letters; -1 where there are no partitions."""


@dataclass(frozen=True, slots=True)
class ReturnedRecord:
    """A record that goes back to a queue."""

    queue: str
    value: bytes | None
    headers: HeaderList
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """A dead letter that is to be taken out of its topic, and what is to stand in its place."""

    letter: StoredDeadLetter
    note: Sequence[tuple[str, bytes]] = ()
    """Headers of the tombstone: who took it out, when, why."""

    record: ReturnedRecord | None = None
    """Written in the same transaction; None: the letter is discarded."""


class DeadLetterMover(Protocol):
    """Takes dead letters of one queue out of their topic, exactly once. One thread owns it.

    There is one a queue at a time: to open one ends the power of the one before it, in whatever process that is.
    """

    def letters(self, *, timeout: float) -> Iterable[StoredDeadLetter]:
        """Return the letters that stand, oldest first. What an earlier mover has done, also one that was killed, is seen."""

    def move(self, removals: Sequence[Removal], *, timeout: float) -> bool:
        """Write records and tombstones in one transaction: all of it stands afterwards, or nothing does.

        After an error that is neither a ValueError nor a PermissionError it is not known which; a new mover sees it.

        Returns:
            False: another mover of this queue has taken over; this one is of no more use.

        Raises:
            ValueError: A record can never be written, such as one that is too large; nothing of the transaction stands.
        """

    def close(self) -> None:
        """Let go of the connections; nothing is under way between two calls."""


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """How a topic of taskq's stands beside how taskq would make it."""

    queue: str
    topic: str
    """Kafka's name of it, with the prefix."""

    is_dead_letters: bool
    """Whether it holds the queue's dead letters instead of its tasks."""

    partitions: int
    """0: it does not exist."""

    replication: int
    """Replicas of a partition; 0 where that cannot be told."""

    settings: Mapping[str, str]
    """Of the wanted settings those that could be read, as they are."""

    wanted: Mapping[str, str]
    """As taskq would make it: `partitions`, `replication` (where that is known) and Kafka's own settings."""

    is_log: bool = False
    """Whether it holds a log of taskq's own; `queue` is the log's name then."""

    step: int = 0
    """The priority step of the queue that it holds."""


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One member of a consumer group: a worker has one for each of its queues."""

    id: str
    name: str
    """Its client.id: the worker's name."""

    host: str
    holds: Mapping[str, Sequence[int]]
    """Partitions by queue, or priority step of one (QUEUE.pN); empty where it holds none."""


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A consumer group."""

    group: str
    """Kafka's name of it, with the prefix."""

    protocol: str
    """`consumer` (KIP-848) or `classic`; empty where the group does not exist, or the broker cannot say."""

    members: Sequence[GroupMember]
    is_told: bool = True
    """Whether the broker can tell members; librdkafka's mock cluster cannot."""


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """A record, and how it stands for one consumer group."""

    queue: str
    partition: int
    offset: int
    record: Record | None
    """None: it was deleted."""

    is_claimed: bool
    ahead: int
    """How many unclaimed records of its partition stand before it; 0 for one that is claimed."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found, and how far it went."""

    records: Sequence[FoundRecord]
    searched: int
    """How many records were looked at."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """How a cluster is set up, as far as we may know."""

    brokers: int
    settings: Mapping[str, str] | None
    """One broker's settings; None where we may not read them, or it has none."""

    group_settings: Mapping[str, str]
    """What the workers' group has set; empty where that cannot be read."""


@dataclass(frozen=True, slots=True)
class HeldPartition:
    """A partition in which an open transaction holds back all who read what is committed."""

    topic: str
    """Kafka's name of it, with the prefix."""

    partition: int
    offset: int
    """The transaction's first record: nothing from there on is read."""

    behind: int
    """How many offsets there are from there on."""

    since_ms: int | None
    """When that record was written, in milliseconds since 1970; None where it could not be read."""


class Admin(Protocol):
    """Questions to the broker, and making queues. Any thread may call it; every call blocks, at most `timeout` seconds."""

    def check(self, *, timeout: float, refused_after: float | None = None) -> None:
        """Raise a ConnectionError that names the address if no broker answers.

        Args:
            timeout: Seconds for an answer.
            refused_after: Seconds after which it waits no longer if each address refuses the connection; None: it does.
        """

    def create_queue(self, queue: str, *, timeout: float) -> None:
        """Make a queue with its settings; one that exists is used as it is."""

    def queues(self, *, timeout: float) -> Sequence[str]:
        """Return the names of all queues, sorted: no dead-letter topics, none of taskq's or Kafka's own topics.

        One that has a topic for a priority step only is among them.
        """

    def sources(self, *, timeout: float) -> Sequence[str]:
        """Return the names of all queues and priority steps (QUEUE, QUEUE.pN) that have a topic, sorted.

        What takes queues one by one takes such names, too: `create_queue`, `queue_status`, `partition_counts`, `worker_counts`,
        `find_records`, `record_at`, `trim`.
        """

    def existing(self, sources: Sequence[str], *, timeout: float) -> Sequence[str]:
        """Return those of some queues and priority steps that have a topic, in their order. Cheap, and makes nothing.

        What we may not look at is left out.
        """

    def queue_status(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Sequence[QueueStatus]:
        """Return how queues stand; a queue that does not exist is left out."""

    def partition_counts(self, queues: Sequence[str], *, timeout: float) -> Mapping[str, int]:
        """Return how many partitions each queue has; a queue that does not exist is left out."""

    def worker_counts(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Mapping[str, int]:
        """Return how many members of a group hold a partition of each queue."""

    def group_protocol(self) -> str:
        """Return what the workers' group speaks, `consumer` or `classic`; empty where there is no choice. Blocks."""

    def dead_letter_queues(self, *, timeout: float) -> Sequence[str]:
        """Return the names of the queues that have a dead-letter topic, sorted."""

    def dead_letters(self, queue: str, *, timeout: float) -> Iterable[StoredDeadLetter]:
        """Return the dead letters of a queue, oldest first; none if it has no dead-letter topic."""

    def move_dead_letters(self, queue: str, *, timeout: float) -> DeadLetterMover:
        """Return a mover of a queue's dead letters, which is the only one from now on. Close it in the end."""

    def create_dead_letter_topic(self, queue: str, *, timeout: float) -> None:
        """Make the topic of a queue's dead letters; one that exists is used as it is."""

    def topics(self, queues: Sequence[str], *, timeout: float) -> Sequence[TopicStatus]:
        """Return how the topics of these queues and of their dead letters stand, also of those that do not exist.

        Of priority steps those that exist, and those that are named.
        """

    def log_topics(self, logs: Sequence[str], *, timeout: float) -> Sequence[TopicStatus]:
        """Return how the topics of these logs stand, also of those that do not exist."""

    def create_log(self, log: str, *, timeout: float) -> None:
        """Make a log's topic with its settings; one that exists is used as it is."""

    def group(self, group: str, *, timeout: float) -> GroupStatus:
        """Return who is in a group; one that does not exist has no members."""

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
        """Return the records of queues that a function recognizes, in the order of their sending.

        Args:
            queues: Those that do not exist are passed over.
            matches: Called for each record that is looked at.
            group: Whose claims count.
            since_ms: Look at what was sent from then on; None: at all that the group has not claimed.
            until_ms: A partition is not looked at beyond the first record that was sent later.
            timeout: Seconds without anything new after which it is given up: a long search is no error.
        """

    def record_at(
        self, queue: str, partition: int, offset: int, *, group: str, timeout: float
    ) -> FoundRecord | None:
        """Return one record; None where there never was one."""

    def purge(self, queue: str, *, group: str, timeout: float) -> int:
        """Delete all records of a queue and its steps for every group; return how many of them this group had not claimed.

        Workers still run what they had fetched before.
        """

    def trim(self, queues: Sequence[str], *, keep: float, timeout: float) -> Mapping[str, int]:
        """Delete what every group of the cluster has finished and was sent more than `keep` seconds ago.

        Returns how many offsets went, by queue; queues of which nothing went are left out.
        """

    def cluster(self, *, group: str, timeout: float) -> ClusterStatus:
        """Return how the cluster is set up."""

    def rights(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Mapping[tuple[str, str], frozenset[str]]:
        """Return what we may do: operations by resource, such as `("topic", "billing")`, `("group", "taskq")`, `("cluster", "")`.

        A resource that the broker tells nothing about is left out. Names are Kafka's, with the prefix.
        """

    def held_up(self, topics: Sequence[str], *, timeout: float) -> Sequence[HeldPartition]:
        """Return the partitions of topics, by Kafka's names, in which a transaction is open now; it may be about to end."""

    def newest_commit_ms(self, *, timeout: float) -> int | None:
        """Return when a broker last wrote a commit of any group, by its own clock, in milliseconds since 1970.

        None where there was none, or we may not know.
        """


class EmbeddedBroker(Protocol):
    """A broker that lives in this process, for development: nothing to install or start. Any thread may call it."""

    @property
    def address(self) -> str:
        """Where this machine's processes find it, as the setting `broker` has it."""

    def close(self) -> None:
        """End it: what it held is gone. May be called twice."""
