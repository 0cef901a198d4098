"""What a channel keeps of what it has handed out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import kombu

from taskq_kafka.channel import Channel
from taskq_kafka.records import Record
from taskq_kafka.transport import Transport


class FakeConsumer:
    """Hands out a record at each fetch; those of before a `leave` are void."""

    queue = topic = "q"

    def __init__(self) -> None:
        self._offsets = itertools.count()
        self._epoch = 1

    def fetch(self, limit: int, timeout: float) -> Sequence[Record]:
        offset = next(self._offsets)
        return [Record("q", 0, offset, 0, None, b"x", (), offset + 1, self._epoch)]

    def holds(self, record: Record) -> bool:
        return record.epoch == self._epoch

    def leave(self) -> None:
        self._epoch += 1

    def rejoin(self) -> None:
        pass

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def close(self) -> None:
        pass


class UnconnectedChannel(Channel):
    """A channel whose consumers are given by the test; it asks no broker."""

    def __init__(self, open_consumer: Callable[[], Any]) -> None:
        client = kombu.Connection(
            "taskq://127.0.0.1:1/", transport="taskq_kafka.transport:Transport"
        )
        super().__init__(Transport(client))
        self._open = open_consumer

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        pass

    def _open_consumer(self, queue: str, **callbacks: Any) -> Any:
        return self._open()


def listening(open_consumer: Callable[[], Any]) -> Channel:
    channel = UnconnectedChannel(open_consumer)
    channel.listen("q")
    return channel


def test_a_channel_that_leaves_keeps_nothing_of_what_is_void() -> None:
    channel = listening(FakeConsumer)

    for _ in range(100):
        channel.fetch(1, 0)
        channel.leave()
        channel.rejoin()

    assert len(channel.qos) == 0


def test_a_delivery_that_outlives_a_leave_is_kept() -> None:
    class Rejoining(FakeConsumer):
        def leave(self) -> None:
            """Void nothing."""

    channel = listening(Rejoining)
    channel.fetch(1, 0)

    channel.leave()

    assert len(channel.qos) == 1


def test_closing_a_channel_that_still_consumes_joins_no_group_again() -> None:
    opened = []

    def open_consumer() -> FakeConsumer:
        opened.append(FakeConsumer())
        return opened[-1]

    channel = UnconnectedChannel(open_consumer)
    channel.basic_consume("q", False, lambda message: None, "tag")

    channel.close()

    assert len(opened) == 1
    assert not channel._pumps
