"""The brokers that the contract suite runs on, and what each cannot do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import kombu
import pytest
from confluent_kafka import Consumer

from taskq.protocols import Admin, IntakeChannel, Outgoing, Publisher, Record
from taskq.timing.shards import Logs
from tests.support.kafka import QUIET
from tests.support.waiting import Deadline

PATIENCE = 90.0
"""Seconds until a test gives up; a hand-over in a group takes one or two."""

SILENCE = 0.5
"""Seconds without a record after which a test believes that none will come: ten times what a fetch takes."""

KINDS = ("memory", "mock", "kafka")

LIMITS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "memory": {
            "network": "there is no network that could fail",
        },
        "mock": {
            "missing topics": "librdkafka's mock cluster makes every topic it is asked for",
            "partitions": "the mock cluster's topics have 4 partitions, whatever is asked for",
            "purge": "the mock cluster knows no delete_records",
            "members": "the mock cluster cannot describe a group, so nobody can be counted",
            "fencing": "the mock cluster lets a transactional producer go on when another one has its id",
            "record size": "the mock cluster takes records of any size",
        },
        "kafka": {},
    }
)
"""What a kind cannot do, and why: tests that need it skip there."""


class Broker:
    """One kind of broker as a test uses it, with the test's own group."""

    def __init__(self, kind: str, address: str, group: str) -> None:
        self.kind = kind
        self.address = address
        self.group = group
        self.prefix = ""
        """Of all topics and groups; to be set before anything is connected."""
        self.partitions = 4 if kind == "mock" else 12
        self._open: list[Any] = []
        self._strangers: list[Consumer] = []
        self._admin: Any = None

    def needs(self, ability: str) -> None:
        """Skip the test where the kind cannot do what it needs."""
        assert any(ability in limits for limits in LIMITS.values()), f"no kind lacks {ability!r}"
        if why := LIMITS[self.kind].get(ability):
            pytest.skip(why)

    def connect(self, **options: Any) -> Any:
        """Return a new kombu connection in the test's group; closed with the test."""
        connection = kombu.Connection(
            hostname=self.address,
            transport=_TRANSPORTS[self.kind],
            transport_options={
                "group": self.group,
                "prefix": self.prefix,
                **self._quick(),
                **options,
            },
        )
        self._open.append(connection)
        return connection

    def channel(self, **options: Any) -> IntakeChannel:
        """Return a worker's channel on a connection of its own."""
        return cast(IntakeChannel, self.connect(**options).channel())

    @property
    def publisher(self) -> Publisher:
        """The publisher of a connection without options of its own."""
        return cast(Publisher, self._shared().publisher)

    @property
    def admin(self) -> Admin:
        """The admin of a connection without options of its own."""
        return cast(Admin, self._shared().admin)

    @property
    def logs(self) -> Logs:
        """The logs of a connection without options of its own."""
        return cast(Logs, self._shared().logs)

    def send(self, queue: str, *values: bytes, key: bytes | None = None) -> None:
        """Write records and make sure that each was acknowledged."""
        outgoing = [Outgoing(queue, value, [("name", b"value")], key) for value in values]
        errors = self.publisher.publish(outgoing, timeout=PATIENCE)
        assert list(errors) == [None] * len(values)

    def stranger(self, queue: str) -> Callable[[], object]:
        """Let a member join that is no worker of this process; call what is returned to poll it."""
        if self.kind == "memory":
            channel = self.channel()
            channel.listen(queue)
            return lambda: channel.fetch(1, 0.02)
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": self.group,
                "group.protocol": "consumer",
                "enable.auto.commit": False,
                "logger": QUIET,
            }
        )
        self._strangers.append(consumer)
        consumer.subscribe([queue])
        return lambda: consumer.poll(0.02)

    def close(self) -> None:
        """Close what the test opened."""
        for connection in self._open:
            connection.release()
        for stranger in self._strangers:
            stranger.close()

    def _shared(self) -> Any:
        if self._admin is None:
            self._admin = self.connect().transport
        return self._admin

    def _quick(self) -> dict[str, Any]:
        # The mock cluster delays a classic group's first assignment by 3 s, and cannot say what protocol a group speaks.
        return {"heartbeat": 0.5, "group_protocol": "consumer" if self.kind == "mock" else "auto"}


_TRANSPORTS = {
    "memory": "taskq.memory:Transport",
    "mock": "taskq_kafka.transport:Transport",
    "kafka": "taskq_kafka.transport:Transport",
}


def fetch(channel: IntakeChannel, count: int, *idle: IntakeChannel) -> list[Record]:
    """Fetch until `count` records have come; the idle channels are polled meanwhile and must get none."""
    records: list[Record] = []
    deadline = Deadline(PATIENCE)
    while len(records) < count:
        assert not deadline.is_over, f"{len(records)} of {count} records came"
        records += channel.fetch(count - len(records), 0.05)
        for other in idle:
            assert not other.fetch(1, 0.01)
    return records


def fetch_until(look: Callable[[], object], *channels: IntakeChannel) -> list[Record]:
    """Poll channels until something holds, and return what they fetched meanwhile."""
    records: list[Record] = []
    deadline = Deadline(PATIENCE)
    while not look():
        assert not deadline.is_over
        for channel in channels:
            records += channel.fetch(1000, 0.02)
    return records


def listening(broker: Broker, queue: str, *others: IntakeChannel, **options: Any) -> IntakeChannel:
    """Return a channel that has its place in the group and has fetched nothing; the others are polled and make room."""
    channel = broker.channel(**options)
    channel.listen(queue)
    channel.pause()
    deadline = Deadline(PATIENCE)
    while not channel.status().assigned:
        assert not deadline.is_over
        channel.fetch(1, 0.02)
        for other in others:
            other.release(tags(other.fetch(1, 0.02)))
    channel.resume()
    return channel


def has_nothing(channel: IntakeChannel) -> bool:
    """Return whether no record comes for a while."""
    return not channel.fetch(1, SILENCE)


def values(records: Sequence[Record]) -> list[bytes | None]:
    """Return the records' values, sorted: partitions have no order among them."""
    return sorted((record.value for record in records), key=lambda value: value or b"")


def tags(records: Sequence[Record]) -> list[int]:
    """Return the records' delivery tags."""
    return [record.delivery_tag for record in records]
