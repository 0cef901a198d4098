"""The embedded broker: in this process, reached from any, and gone when it is closed."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest

from taskq.broker import start_embedded
from taskq.protocols import EmbeddedBroker
from taskq_kafka.groups import Groups
from taskq_kafka.options import TransportOptions
from tests.support.processes import Processes

SEND = "from taskq import send_task; print(send_task('invoice', ('ACME',), queue='billing').id)"


@pytest.fixture
def embedded() -> Iterator[EmbeddedBroker]:
    broker = start_embedded()
    yield broker
    broker.close()


def test_other_processes_send_to_it_and_ask_it(
    embedded: EmbeddedBroker, processes: Processes
) -> None:
    env = {"TASKQ_BROKER": embedded.address}

    senders = [processes.python("-c", SEND, env=env) for _ in range(3)]
    assert [sender.wait(timeout=60) for sender in senders] == [0, 0, 0]

    processes.taskq("queues", env=env).wait_for_line(r"billing +4 +3 .* -$", timeout=30)


def test_nobody_answers_once_it_is_closed(embedded: EmbeddedBroker) -> None:
    host, _, port = embedded.address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=10).close()

    embedded.close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=10)


def test_its_groups_are_of_the_kind_that_begins_at_once(
    embedded: EmbeddedBroker, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "taskq_kafka")

    assert (
        Groups(TransportOptions(bootstrap=embedded.address, group=group)).protocol() == "consumer"
    )

    assert [record.event for record in caplog.records] == ["group.protocol"]  # type: ignore[attr-defined]  # an extra
