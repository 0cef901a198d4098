"""Logs of `memory://`: one owner a shard, firings written as a whole. What it shares with Kafka is in `tests/contract/`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from taskq.broker import Broker
from taskq.memory import forget_cluster
from taskq.memory.logs import Host
from taskq.protocols import Outgoing
from taskq.settings import Layer, resolve
from taskq.timing.timers import GROUP, LOG, timer_write
from taskq.timing.timershard import TimerShard

NOW = 1_000_000
HostMaker = Callable[[], Host]


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker(resolve([Layer("code", {"broker": "memory://logs", "prefix": "p."})]))
    yield broker
    broker.close()
    forget_cluster("logs")


@pytest.fixture
def host(broker: Broker) -> HostMaker:
    def join() -> Host:
        host = cast(Host, broker.logs.host(LOG, GROUP, TimerShard, now_ms=lambda: NOW))
        host.join()
        return host

    return join


def step(host: Host) -> list[str]:
    """Return the ids of the tasks that a host sends now."""
    return [firing.name for firing in host.step() if firing.messages]


def wait(broker: Broker, id: str, due: int, *, queue: str = "q", value: bytes = b"v") -> Any:
    message = Outgoing(queue, value, [("id", id.encode())])
    [error] = broker.logs.append([timer_write(message, task_id=id, due_ms=due)], timeout=1)
    return error


def queued(broker: Broker, queue: str = "q") -> int:
    [status] = broker.admin.queue_status([queue], group="taskq", timeout=1)
    return status.lag


def test_what_is_due_goes_to_its_queue_in_the_order_of_its_time(
    broker: Broker, host: HostMaker
) -> None:
    for id, due in (("c", NOW), ("a", NOW - 2), ("b", NOW - 1), ("d", NOW + 1)):
        wait(broker, id, due)

    one = host()

    assert step(one) == ["a", "b", "c"]
    assert queued(broker) == 3
    assert one.status().waiting == 1
    assert step(one) == []


def test_another_host_fires_nothing_again(broker: Broker, host: HostMaker) -> None:
    wait(broker, "a", NOW)
    step(host())

    assert step(host()) == []


def test_hosts_share_the_partitions(broker: Broker, host: HostMaker) -> None:
    one, other = host(), host()
    step(one)
    step(other)
    step(one)

    shares = one.status().partitions, other.status().partitions

    assert sorted((*shares[0], *shares[1])) == list(range(16))
    assert len(shares[0]) == 8


def test_who_leaves_lets_go_of_its_share(broker: Broker, host: HostMaker) -> None:
    one, other = host(), host()
    step(one)
    step(other)
    other.leave()
    step(one)

    assert len(one.status().partitions) == 16
    assert not other.status().member


def test_a_log_is_no_queue(broker: Broker) -> None:
    wait(broker, "a", NOW)

    assert broker.admin.queues(timeout=1) == ["q"]


def test_what_its_queue_does_not_take_becomes_a_letter(broker: Broker, host: HostMaker) -> None:
    error = wait(broker, "large", NOW, value=b"x" * 1_048_580)
    wait(broker, "a", NOW)

    assert error is None
    assert step(host()) == ["a"]
    [letter] = broker.admin.dead_letters("taskq.timers", timeout=1)
    assert ("dlq-reason", b"refused") in letter.headers


def test_a_record_that_is_too_large_for_the_log_is_refused(broker: Broker) -> None:
    error = wait(broker, "a", NOW, value=b"x" * 1_200_000)

    assert isinstance(error, ValueError)


def test_nothing_waits_for_a_queue_that_cannot_be(broker: Broker) -> None:
    error = wait(broker, "a", NOW, queue="no queue")

    assert isinstance(error, ValueError)
    assert list(broker.logs.read(LOG, timeout=1)) == []
