"""What only `memory://` has: a clock that moves, clusters by name. What it shares with Kafka is in `tests/contract/`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from taskq.broker import Broker
from taskq.memory import MovableClock, cluster_named, forget_cluster
from taskq.protocols import Outgoing
from taskq.settings import Layer, resolve
from tests.support.clock import FakeClock

Connect = Callable[[str], Broker]


@pytest.fixture
def connect() -> Iterator[Connect]:
    brokers: list[Broker] = []

    def connect(name: str) -> Broker:
        broker = Broker(resolve([Layer("code", {"broker": f"memory://{name}"})]))
        brokers.append(broker)
        return broker

    yield connect
    for broker in brokers:
        broker.close()
        forget_cluster(broker.address.hosts)


def test_all_connections_to_one_name_meet(connect: Connect) -> None:
    connect("one").publish([Outgoing("q", b"v", ())])

    channel = connect("one").open_channel()
    channel.listen("q")

    assert [record.value for record in channel.fetch(10, 1)] == [b"v"]


def test_other_names_are_other_clusters(connect: Connect) -> None:
    connect("one").publish([Outgoing("q", b"v", ())])

    assert connect("other").admin.queues(timeout=1) == []


def test_a_forgotten_cluster_begins_empty(connect: Connect) -> None:
    connect("one").publish([Outgoing("q", b"v", ())])

    forget_cluster("one")

    assert connect("one").admin.queues(timeout=1) == []


def test_what_waits_ages_with_the_clusters_clock(connect: Connect) -> None:
    broker = connect("one")
    broker.publish([Outgoing("q", b"v", ())])

    cluster_named("one").clock.advance(3600)

    [status] = broker.admin.queue_status(["q"], group="taskq", timeout=1)
    assert status.oldest_age == pytest.approx(3600, abs=60)


def test_a_moved_clock_shows_all_of_it_the_same() -> None:
    base = FakeClock()
    clock = MovableClock(base)
    clock.advance(90)
    base.advance(5)

    assert clock.monotonic() == base.monotonic() + 90
    assert clock.time() == base.time() + 90
    assert (clock.now() - base.now()).total_seconds() == 90


def test_a_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="forward"):
        MovableClock().advance(-1)


def test_moving_the_clock_ends_a_wait() -> None:
    clock = MovableClock()
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(clock.wait(threading.Event(), 3600)))
    thread.start()

    clock.advance(3601)
    thread.join(0.05)
    while thread.is_alive():  # it may have begun to wait only after the move
        clock.advance(3601)
        thread.join(0.05)

    assert ended == [False]


def test_an_event_ends_a_wait() -> None:
    event = threading.Event()
    event.set()

    assert MovableClock().wait(event, 3600)
    assert MovableClock().wait(event, None)
