"""A group member without a broker: confluent_kafka's Consumer as taskq_kafka uses it, over one partition in memory.

For what brokers do seldom, or at a moment that cannot be chosen. Only what is called exists.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from taskq_kafka import committing, consumer, forks, membership, places
from taskq_kafka.consumer import QueueConsumer
from taskq_kafka.groups import Place
from taskq_kafka.offsets import State
from taskq_kafka.options import TransportOptions

QUEUE = "q"


class FakeMessage:
    """One record, or an event in its place."""

    def __init__(self, offset: int, error: KafkaError | None = None) -> None:
        self._offset, self._error = offset, error

    def error(self) -> KafkaError | None:
        return self._error

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 4_102_444_800_000  # 2100: younger than any retention

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return b"%d" % self._offset

    def headers(self) -> list[Any]:
        return []


class FakeClient:
    """A Consumer that is alone in its group and owns partition 0 from its first poll on."""

    def __init__(self, *, low: int = 0, high: int = 0, committed: int = -1001) -> None:
        self.low, self.high = low, high
        """The log's first offset, and the one after its last."""

        self.stored = TopicPartition(QUEUE, 0, committed)
        """What the group has."""

        self.commit_errors: deque[int | None] = deque()
        """Codes with which the next commits fail; None is a yes, as are all after them."""

        self.committed_error: Exception | None = None
        self.position = 0
        self.calls: list[str] = []
        self.is_paused = False
        self.is_closed = False
        self.is_deaf = False
        """Hears of no assignment."""

        self.ends: deque[int] = deque()
        """Ends of the partition that the next polls return, each after the partition went and came back inside of that poll."""

        self.before_watermarks: Callable[[], object] = lambda: None
        self.before_commit: Callable[[], object] = lambda: None
        self._callbacks: dict[str, Callable[..., None]] = {}
        self._is_assigned = False
        self._is_lost = False

    def subscribe(self, topics: Sequence[str], **callbacks: Callable[..., None]) -> None:
        self.calls.append("subscribe")
        self._callbacks, self._is_assigned = callbacks, False

    def unsubscribe(self) -> None:
        self.calls.append("unsubscribe")
        if self._is_assigned:
            self._callbacks["on_revoke"](self, [TopicPartition(QUEUE, 0)])
        self._callbacks, self._is_assigned = {}, False

    def memberid(self) -> str | None:
        return f"member-{id(self)}" if self._is_assigned else None

    def consumer_group_metadata(self) -> object:
        return object()

    def committed(self, partitions: Any, timeout: float) -> list[TopicPartition]:
        if self.committed_error is not None:
            raise self.committed_error
        return [self.stored]

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self.seek(partition)

    def incremental_unassign(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        self.calls.append("pause")
        self.is_paused = True

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        self.is_paused = False

    def seek(self, target: TopicPartition) -> None:
        self.position = self.low if target.offset == OFFSET_BEGINNING else target.offset
        self._is_lost = not self.low <= self.position <= self.high

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float, cached: bool
    ) -> tuple[int, int]:
        self.before_watermarks()
        return self.low, self.high

    def poll(self, timeout: float) -> FakeMessage | None:
        if self.is_closed:
            raise RuntimeError("Consumer closed")
        self.calls.append("poll")
        if self.ends:
            for callback in ("on_revoke", "on_assign"):
                self._callbacks[callback](self, [TopicPartition(QUEUE, 0)])
            return FakeMessage(self.ends.popleft(), KafkaError(KafkaError._PARTITION_EOF))
        if self._callbacks and not self._is_assigned and not self.is_deaf:
            self._is_assigned = True
            self._callbacks["on_assign"](self, [TopicPartition(QUEUE, 0)])
            return None
        if self.is_paused or not self._is_assigned:
            return None
        if self._is_lost:
            self._is_lost = False
            return FakeMessage(-1, KafkaError(KafkaError._AUTO_OFFSET_RESET))
        if not self.low <= self.position < self.high:
            return None
        self.position += 1
        return FakeMessage(self.position - 1)

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        return [message for message in (self.poll(0) for _ in range(count)) if message is not None]

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> Any:
        self.calls.append("commit")
        self.before_commit()
        code = self.commit_errors.popleft() if self.commit_errors else None
        if code is not None:
            raise KafkaException(KafkaError(code))
        (self.stored,) = offsets
        return offsets

    def close(self) -> None:
        self.is_closed = True


class FakeGroups:
    """What a consumer asks others about itself: by default a broker answers, and nobody can tell."""

    group = "g"

    def __init__(self) -> None:
        self.is_answering = True
        self.said: Place | None = None
        self.told_ends: dict[int, int] = {}
        self.questions = 0
        self.has_forgotten_us = False

    def protocol(self) -> str:
        return "consumer"

    def stored(self, topic: str, partitions: Sequence[int]) -> dict[int, State] | None:
        return {}

    def answers(self) -> bool:
        self.questions += 1
        return self.is_answering

    def place(self, member_id: str, topic: str) -> Place | None:
        return self.said

    def has_forgotten(self, member_id: str, topic: str) -> bool:
        return self.has_forgotten_us

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return {number: self.told_ends[number] for number in partitions if number in self.told_ends}


class FakeTime:
    """The clock of the consumer's modules, moved by the test, and by whoever sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (committing, consumer, membership, places):
            monkeypatch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeClients:
    """The clients that a consumer under test makes one after the other."""

    def __init__(self) -> None:
        self.made: list[FakeClient] = []
        self.groups = FakeGroups()
        self.prepare: Callable[[FakeClient], object] = lambda client: None
        """Called with each one that is made."""

        self.template: dict[str, int] = {}

    def __call__(self, config: dict[str, Any]) -> FakeClient:
        client = FakeClient(**self.template)
        self.prepare(client)
        self.made.append(client)
        return client

    @property
    def last(self) -> FakeClient:
        """The one in use."""
        return self.made[-1]

    def join(self, **template: int) -> QueueConsumer:
        """Make a consumer whose clients have a log and an offset like this."""
        self.template = template
        asked: Any = self.groups
        return QueueConsumer(TransportOptions(), QUEUE, groups=asked, tags=itertools.count(1))


def fake_clients(monkeypatch: pytest.MonkeyPatch) -> FakeClients:
    """Have consumers made with fake clients until the test ends."""
    clients = FakeClients()
    monkeypatch.setattr(forks, "new_consumer", clients)
    return clients
