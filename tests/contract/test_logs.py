"""The logs of a transport (`shards.Logs`) on every broker: what is written stands there, and hosts share what is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any
from zlib import crc32

import pytest

from taskq.protocols import Outgoing
from taskq.timing.shards import Logs, ShardHost, Write
from taskq.timing.timers import GROUP, LOG, cancel_write, timer_write
from taskq.timing.timershard import TimerShard
from tests.support.brokers import PATIENCE, Broker, fetch, has_nothing, listening
from tests.support.clock import START
from tests.support.waiting import wait_until


def now_ms() -> int:
    """Return the system's time in milliseconds, rounded down."""
    return time.time_ns() // 1_000_000


@pytest.fixture
def prefix(queue: str) -> dict[str, Any]:
    """Options that keep a test's topics apart."""
    return {"prefix": f"{queue[-40:]}."}


@pytest.fixture
def logs(broker: Broker, prefix: dict[str, Any]) -> Logs:
    found: Logs = broker.connect(**prefix).transport.logs
    return found


def append(logs: Logs, *writes: Write) -> None:
    assert list(logs.append(writes, timeout=PATIENCE)) == [None] * len(writes)


def pairs(logs: Logs, log: str, route: bytes | None = None) -> list[tuple[bytes, bytes | None]]:
    """Return keys and values in the order in which they stand there."""
    return [(each.key, each.value) for each in logs.read(log, route=route, timeout=PATIENCE)]


def due(id: str, *, queue: str = "q") -> Write:
    """Return the write of a timer that is due now."""
    message = Outgoing(queue, b"[]", [("task", b"add"), ("id", id.encode())])
    return timer_write(message, task_id=id, due_ms=now_ms())


class TestRecords:
    def test_what_was_written_is_read_with_all_it_has(self, logs: Logs) -> None:
        write = Write("log", b"a", b"a/1", b"value", [("one", b"1"), ("blob", b"\xff\x00")])
        begun = now_ms()

        append(logs, write)

        [record] = logs.read("log", timeout=PATIENCE)
        assert (record.key, record.value) == (b"a/1", b"value")
        assert list(record.headers) == list(write.headers)
        assert record.timestamp_ms >= begun

    def test_a_record_without_value_stands_behind_what_it_takes_out(self, logs: Logs) -> None:
        append(logs, Write("log", b"a", b"a/1", b"1"), Write("log", b"a", b"a/1", None))

        assert pairs(logs, "log")[-1] == (b"a/1", None)

    def test_records_of_one_route_stand_in_one_partition_in_their_order(self, logs: Logs) -> None:
        append(logs, *(Write("log", b"a", b"%d" % number, b"") for number in range(9)))

        found = list(logs.read("log", route=b"a", timeout=PATIENCE))

        assert [record.key for record in found] == [b"%d" % number for number in range(9)]
        assert [record.offset for record in found] == sorted(record.offset for record in found)
        [partition] = {record.partition for record in found}
        assert partition in (crc32(b"a") % 16, crc32(b"a") % 4)

    def test_the_partition_of_another_route_is_not_read(self, logs: Logs) -> None:
        append(logs, Write("log", b"a", b"a", b""), Write("log", b"b", b"b", b""))

        assert crc32(b"a") % 4 != crc32(b"b") % 4  # so neither with 16
        assert pairs(logs, "log", b"a") == [(b"a", b"")]
        assert sorted(pairs(logs, "log")) == [(b"a", b""), (b"b", b"")]

    def test_a_log_that_is_not_there_has_no_records(self, logs: Logs) -> None:
        assert pairs(logs, "log") == []

    def test_a_check_makes_a_log_that_takes_records(self, logs: Logs) -> None:
        logs.check("log", timeout=PATIENCE)
        logs.check("log", timeout=PATIENCE)

        append(logs, Write("log", b"a", b"a", b""))

    def test_logs_behind_another_prefix_are_others(self, broker: Broker, logs: Logs) -> None:
        append(logs, Write("log", b"a", b"a", b""))
        elsewhere = broker.connect(prefix=f"{broker.group[-40:]}-other.").transport.logs

        assert pairs(elsewhere, "log") == []

    def test_a_queue_that_a_record_leads_to_is_there(
        self, broker: Broker, logs: Logs, prefix: dict[str, Any]
    ) -> None:
        append(logs, due("a"))

        admin = broker.connect(**prefix).transport.admin
        assert "q" in admin.queues(timeout=PATIENCE)

    def test_a_queue_that_cannot_be_stops_only_what_leads_to_it(self, logs: Logs) -> None:
        wrong, none = logs.append([due("a", queue="no such name!"), due("b")], timeout=PATIENCE)

        assert isinstance(wrong, ValueError)
        assert getattr(wrong, "sent", None) is False
        assert none is None
        assert len(pairs(logs, LOG)) == 1

    def test_nothing_is_made_where_that_is_not_allowed(
        self, broker: Broker, prefix: dict[str, Any]
    ) -> None:
        broker.needs("missing topics")
        logs = broker.connect(**prefix, auto_create=False).transport.logs

        [error] = logs.append([Write("log", b"a", b"a", b"")], timeout=PATIENCE)

        assert getattr(error, "sent", None) is False
        with pytest.raises((ValueError, LookupError)):
            logs.check("log", timeout=PATIENCE)
        assert pairs(logs, "log") == []


class Hosts:
    """Hosts of the timers, each in a thread of its own."""

    def __init__(self, broker: Broker, prefix: dict[str, Any]) -> None:
        self._broker = broker
        self._prefix = prefix
        self._threads: list[tuple[ShardHost, threading.Thread]] = []

    def join(self, **options: Any) -> ShardHost:
        """Let one more join."""
        logs: Logs = self._broker.connect(**self._prefix, **options).transport.logs
        host = logs.host(LOG, GROUP, TimerShard, now_ms=now_ms)
        thread = threading.Thread(target=host.run, daemon=True)
        self._threads.append((host, thread))
        thread.start()
        return host

    def settle(self) -> None:
        """Wait until each has a share, all of which it has read, and all together have the log."""
        hosts = [host for host, _ in self._threads]
        count = 4 if self._broker.kind == "mock" else 16

        def is_settled() -> bool:
            shares = [list(host.status().ready) for host in hosts]
            return all(shares) and sorted(chain(*shares)) == list(range(count))

        wait_until(is_settled, timeout=PATIENCE, what="hosts with their shares")

    def close(self) -> None:
        for host, _ in self._threads:
            host.stop()
        for _, thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def hosts(broker: Broker, prefix: dict[str, Any]) -> Iterator[Hosts]:
    hosts = Hosts(broker, prefix)
    yield hosts
    hosts.close()


class TestHosts:
    def test_two_share_the_log_and_send_each_task_once(
        self, broker: Broker, logs: Logs, hosts: Hosts, prefix: dict[str, Any]
    ) -> None:
        queue = listening(broker, "q", **prefix)
        hosts.join()
        hosts.join()
        hosts.settle()

        append(logs, *(due(f"{number:02}") for number in range(40)))

        sent = [(dict(record.headers)["id"] or b"").decode() for record in fetch(queue, 40)]
        assert sorted(sent) == [f"{number:02}" for number in range(40)]
        assert has_nothing(queue)

    def test_what_cannot_be_read_is_put_aside_and_stops_nobody(
        self, broker: Broker, logs: Logs, hosts: Hosts, prefix: dict[str, Any]
    ) -> None:
        queue = listening(broker, "q", **prefix)
        wrong = Write(LOG, b"a", b"a/1", b"?", [("timer-format", b"1"), ("timer-due", b"soon")])
        append(logs, wrong, due("a"))

        hosts.join()

        [record] = fetch(queue, 1)
        assert ("id", b"a") in record.headers
        [letter] = letters(broker, prefix)
        assert letter.value == b"?"
        assert {("dlq-reason", b"unreadable"), ("dlq-source-key", b"a/1")} <= set(letter.headers)

    def test_what_is_newer_stays_and_stops_nobody(
        self, broker: Broker, logs: Logs, hosts: Hosts, prefix: dict[str, Any]
    ) -> None:
        queue = listening(broker, "q", **prefix)
        append(logs, Write(LOG, b"a", b"a/1", b"?", [("timer-format", b"2")]))
        append(logs, due("a"), cancel_write("a", START), due("a"))

        hosts.join()

        assert len(fetch(queue, 1)) == 1
        assert has_nothing(queue)
        standing = [key for key, value in dict(pairs(logs, LOG)).items() if value is not None]
        assert standing == [b"a/1", b"a/cancel"]

    def test_a_queue_that_may_not_be_made_is_a_letter_and_stops_nobody(
        self, broker: Broker, logs: Logs, hosts: Hosts, prefix: dict[str, Any]
    ) -> None:
        broker.needs("missing topics")
        queue = listening(broker, "q", **prefix)
        admin = broker.connect(**prefix).transport.admin
        admin.create_dead_letter_topic("taskq.timers", timeout=PATIENCE)
        lost = due("a", queue="gone")
        append(logs, Write(LOG, b"a", lost.key, lost.value, lost.headers), due("b"))

        hosts.join(auto_create=False)

        [record] = fetch(queue, 1)
        assert ("id", b"b") in record.headers
        [letter] = letters(broker, prefix)
        assert ("dlq-id", b"a") in letter.headers
        assert "gone" not in admin.queues(timeout=PATIENCE)


def letters(broker: Broker, prefix: dict[str, Any]) -> list[Any]:
    """Return the letters of timers, as soon as there are any."""
    admin = broker.connect(**prefix).transport.admin

    def stored() -> list[Any]:
        return list(admin.dead_letters("taskq.timers", timeout=PATIENCE))

    wait_until(lambda: bool(stored()), timeout=PATIENCE, what="a letter")
    return stored()
