"""A broker that keeps what it is given, for tests of what is sent and shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from taskq.app import App
from taskq.broker import Broker
from taskq.errors import BrokerRefused, BrokerUnreachable
from taskq.protocols import (
    ClusterStatus,
    DeadLetter,
    Found,
    FoundRecord,
    GroupStatus,
    HeldPartition,
    Outgoing,
    QueueStatus,
    Record,
    Removal,
    StoredDeadLetter,
    TopicStatus,
)
from taskq.timing.shards import Write
from taskq_kafka.steps import queue_of_source
from tests.support.clock import FakeClock
from tests.support.fake_logs import FakeLogs


class FakePublisher:
    """Acknowledges everything that `fails` does not refuse."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.letters: list[DeadLetter] = []
        self.fails: Callable[[Outgoing], Exception | None] = lambda message: None

    def publish(
        self, messages: Sequence[Outgoing], *, timeout: float
    ) -> Sequence[Exception | None]:
        errors = [self.fails(message) for message in messages]
        self.sent += [
            message for message, error in zip(messages, errors, strict=True) if error is None
        ]
        return errors

    def dead_letters(
        self, letters: Sequence[DeadLetter], *, timeout: float
    ) -> Sequence[Exception | None]:
        self.letters += letters
        return [None] * len(letters)


class FakeMover:
    """Moves the letters of its admin; `admin.refuses` says which it cannot, `admin.taken_over_after` when another comes."""

    def __init__(self, admin: FakeAdmin, queue: str) -> None:
        self._admin = admin
        self._queue = queue

    def letters(self, *, timeout: float) -> Iterable[StoredDeadLetter]:
        return self._admin.dead_letters(self._queue, timeout=timeout)

    def move(self, removals: Sequence[Removal], *, timeout: float) -> bool:
        self._admin.transactions.append(removals)
        for each in removals:
            if error := self._admin.refuses(each):
                raise error
        if len(self._admin.moved) >= self._admin.taken_over_after:
            return False
        self._admin.moved += removals
        gone = {each.letter.id for each in removals}
        self._admin.stored = [each for each in self._admin.stored if each.id not in gone]
        return True

    def close(self) -> None:
        self._admin.closed_movers += 1


class FakeAdmin:
    """Knows the queues and dead letters that a test gave it."""

    def __init__(self) -> None:
        self.statuses: list[QueueStatus] = []
        self.stored: list[StoredDeadLetter] = []
        self.is_reachable = True
        self.patience: float | None = None
        self.when_checked: Callable[[], None] = lambda: None
        self.created: list[str] = []
        self.topic_statuses: list[TopicStatus] = []
        self.log_statuses: list[TopicStatus] = []
        self.members = GroupStatus("taskq", "consumer", ())
        self.records: list[FoundRecord] = []
        self.purged: list[str] = []
        self.trimmed: list[tuple[tuple[str, ...], float]] = []
        self.held: list[HeldPartition] = []
        self.trim_error: Exception | None = None
        self.trims: dict[str, int] = {}
        self.cluster_status = ClusterStatus(1, None, {})
        self.told_rights: dict[tuple[str, str], frozenset[str]] = {}
        self.transactions: list[Sequence[Removal]] = []
        self.moved: list[Removal] = []
        self.refuses: Callable[[Removal], Exception | None] = lambda removal: None
        self.taken_over_after = sys.maxsize
        self.closed_movers = 0
        self.searches: list[tuple[int | None, int | None]] = []

    def check(self, *, timeout: float, refused_after: float | None = None) -> None:
        self.patience = refused_after
        self.when_checked()
        if not self.is_reachable:
            raise ConnectionRefusedError("nobody listens")

    def create_queue(self, queue: str, *, timeout: float) -> None:
        self.created.append(queue)

    def queues(self, *, timeout: float) -> Sequence[str]:
        return sorted({queue_of_source(status.queue) for status in self.statuses})

    def sources(self, *, timeout: float) -> Sequence[str]:
        return sorted(status.queue for status in self.statuses)

    def existing(self, sources: Sequence[str], *, timeout: float) -> Sequence[str]:
        there = {status.queue for status in self.statuses}
        return [source for source in sources if source in there]

    def queue_status(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Sequence[QueueStatus]:
        return [status for status in self.statuses if status.queue in queues]

    def partition_counts(self, queues: Sequence[str], *, timeout: float) -> Mapping[str, int]:
        return {each.queue: each.partitions for each in self.statuses if each.queue in queues}

    def worker_counts(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Mapping[str, int]:
        counts = {each.queue: each.workers for each in self.statuses}
        return {queue: counts.get(queue, 0) for queue in queues}

    def group_protocol(self) -> str:
        return "consumer"

    def dead_letter_queues(self, *, timeout: float) -> Sequence[str]:
        return sorted({letter.queue for letter in self.stored})

    def dead_letters(self, queue: str, *, timeout: float) -> Iterable[StoredDeadLetter]:
        return [letter for letter in self.stored if letter.queue == queue]

    def move_dead_letters(self, queue: str, *, timeout: float) -> FakeMover:
        return FakeMover(self, queue)

    def create_dead_letter_topic(self, queue: str, *, timeout: float) -> None:
        self.created.append(f"{queue}.dlq")

    def topics(self, queues: Sequence[str], *, timeout: float) -> Sequence[TopicStatus]:
        return [each for each in self.topic_statuses if each.queue in queues]

    def log_topics(self, logs: Sequence[str], *, timeout: float) -> Sequence[TopicStatus]:
        return self.log_statuses

    def create_log(self, log: str, *, timeout: float) -> None:
        self.created.append(log)

    def group(self, group: str, *, timeout: float) -> GroupStatus:
        return self.members

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
        self.searches.append((since_ms, until_ms))
        looked_at = [
            each
            for each in self.records
            if each.record is not None
            and (
                not each.is_claimed
                if since_ms is None or until_ms is None
                else since_ms <= each.record.timestamp_ms <= until_ms
            )
        ]
        found = [each for each in looked_at if each.record is not None and matches(each.record)]
        return Found(found, len(looked_at))

    def record_at(
        self, queue: str, partition: int, offset: int, *, group: str, timeout: float
    ) -> FoundRecord | None:
        place = (queue, partition, offset)
        return next(
            (each for each in self.records if (each.queue, each.partition, each.offset) == place),
            None,
        )

    def trim(self, queues: Sequence[str], *, keep: float, timeout: float) -> Mapping[str, int]:
        self.trimmed.append((tuple(queues), keep))
        if self.trim_error is not None:
            raise self.trim_error
        return self.trims

    def purge(self, queue: str, *, group: str, timeout: float) -> int:
        self.purged.append(queue)
        return sum(status.lag for status in self.statuses if status.queue == queue)

    def cluster(self, *, group: str, timeout: float) -> ClusterStatus:
        return self.cluster_status

    def rights(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Mapping[tuple[str, str], frozenset[str]]:
        return self.told_rights

    def held_up(self, topics: Sequence[str], *, timeout: float) -> Sequence[HeldPartition]:
        return [each for each in self.held if each.topic in topics]

    def newest_commit_ms(self, *, timeout: float) -> int | None:
        return None


class FakeBroker:
    """Stands for `taskq.broker.Broker`."""

    def __init__(self, address: str = "localhost:9092") -> None:
        self.address = address
        self.publisher = FakePublisher()
        self.admin = FakeAdmin()
        self.logs: Any = FakeLogs()
        self.refusals: tuple[type[Exception], ...] = (BrokerRefused,)
        self.clock = FakeClock()
        self.kept: list[Write] = []
        """What was written to the logs."""

        self.is_closed = False

    def publish(self, messages: Sequence[Outgoing | Write]) -> Sequence[Exception | None]:
        self.kept += [message for message in messages if isinstance(message, Write)]
        records = [message for message in messages if isinstance(message, Outgoing)]
        sent = iter(self.publisher.publish(records, timeout=10))
        return [next(sent) if isinstance(message, Outgoing) else None for message in messages]

    def check(self, *, is_patient: bool = True) -> None:
        with self.errors():
            self.admin.check(timeout=10)

    @contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            raise BrokerUnreachable(self.address, str(error)) from error
        except PermissionError as error:
            raise BrokerRefused(self.address, str(error)) from error

    def close(self) -> None:
        self.is_closed = True

    @property
    def sent(self) -> list[Outgoing]:
        """What was published."""
        return self.publisher.sent


def isolated_app(**settings: object) -> tuple[App, FakeBroker]:
    """Return an app that reads neither environment nor files, and its broker."""
    from taskq.sources import Sources

    app = App("test", **settings)
    app.adopt(Sources())
    broker = attach(app, FakeBroker())
    return app, broker


def attach(app: App, broker: FakeBroker) -> FakeBroker:
    """Make an app of this process use a fake broker."""
    app._brokers[os.getpid()] = cast(Broker, broker)
    return broker
