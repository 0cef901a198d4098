"""The thread of a host: whatever happens to the host, there is soon another one, until it is stopped, or has failed for good."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from taskq.broker import Broker
from taskq.errors import BrokerRefused, BrokerUnreachable
from taskq.timing.hostthread import HostThread, timekeeper
from taskq.timing.shards import Shard, ShardStatus
from tests.support.clock import START, FakeClock
from tests.support.fake_broker import FakeBroker
from tests.support.waiting import wait_until

PATIENCE = 5.0


class FakeHost:
    """A host that fails, or runs until it is stopped."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.is_running = threading.Event()
        self.stopped = threading.Event()
        self.wakes = 0

    def run(self) -> None:
        if self.error is not None:
            raise self.error
        self.is_running.set()
        assert self.stopped.wait(PATIENCE)

    def stop(self) -> None:
        self.stopped.set()

    def wake(self) -> None:
        self.wakes += 1

    def status(self) -> ShardStatus:
        return ShardStatus(True, (3,), (3,), 17)


class FailingLogs:
    """Logs whose hosts fail one after the other; the last one runs."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.hosts: list[FakeHost] = []
        self.asked: list[tuple[str, str]] = []
        self.now_ms: Callable[[], int] = int
        self.before: Callable[[], None] = lambda: None
        self.running = threading.Event()

    def host(
        self,
        log: str,
        group: str,
        open_shard: Callable[[int], Shard],
        *,
        now_ms: Callable[[], int],
    ) -> FakeHost:
        self.before()
        self.asked.append((log, group))
        self.now_ms = now_ms
        host = FakeHost(
            self.errors[len(self.hosts)] if len(self.hosts) < len(self.errors) else None
        )
        self.hosts.append(host)
        if host.error is None:
            host.is_running = self.running
        return host


class Stage:
    """A thread with a fake broker and a clock that the test moves."""

    def __init__(self) -> None:
        self.logs = FailingLogs()
        broker = FakeBroker()
        broker.logs = cast(Any, self.logs)
        self.clock = FakeClock()
        self.broker = cast(Broker, broker)
        self.keeper = timekeeper(self.broker, self.clock)
        """One that tries again whatever has failed."""

    def schedules(self) -> HostThread:
        """Return one that failures end."""
        return HostThread(
            "schedules of n",
            self.broker,
            self.clock,
            group="g",
            open_shard=lambda partition: cast(Shard, None),
            log="taskq.schedules",
        )

    def run(self, error: Exception | None = None) -> None:
        """Start it, with a first host that fails if there is an error, and let its pause pass."""
        self.logs.errors = [] if error is None else [error]
        self.keeper.start()
        if error is not None:
            self.clock.wait_for_sleeper()
            self.clock.advance(60)
        assert self.logs.running.wait(PATIENCE)

    def end(self) -> None:
        self.keeper.stop()
        assert self.keeper.join(PATIENCE)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.end()


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", "") for record in caplog.records]


def test_it_owns_shards_of_the_timers_until_it_is_stopped(stage: Stage) -> None:
    stage.run()

    assert stage.logs.asked == [("taskq.timers", "taskq-timers")]
    assert stage.keeper.status.waiting == 17
    stage.end()
    assert (stage.keeper.is_running, stage.keeper.status.member) == (False, False)


@pytest.mark.parametrize(
    ("error", "event", "level"),
    [
        (ConnectionRefusedError("nobody listens"), "host.unreachable", "WARNING"),
        (BrokerUnreachable("localhost:9092", "nobody listens"), "host.unreachable", "WARNING"),
        (BrokerRefused("localhost:9092", "no right to Read"), "host.refused", "ERROR"),
        (RuntimeError("what nobody thought of"), "host.failed", "ERROR"),
    ],
)
def test_a_host_that_fails_is_said_and_followed_by_another(
    stage: Stage, caplog: pytest.LogCaptureFixture, error: Exception, event: str, level: str
) -> None:
    stage.run(error)

    assert len(stage.logs.hosts) == 2
    assert events(caplog) == [event]
    assert caplog.records[0].levelname == level
    assert str(error) in caplog.text


def test_a_refusal_is_said_with_what_it_means(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.run(BrokerRefused("localhost:9092", "no right to Read"))

    assert "wait until another process keeps the time" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_broker_that_refuses_is_asked_less_often_than_one_that_is_away(stage: Stage) -> None:
    stage.logs.errors = [ConnectionRefusedError("away"), BrokerRefused("b", "no right")]
    stage.keeper.start()
    stage.clock.wait_for_sleeper()
    stage.clock.advance(2)
    wait_until(lambda: len(stage.logs.hosts) == 2, timeout=PATIENCE, what="the second host")
    stage.clock.wait_for_sleeper()

    stage.clock.advance(59)

    assert not stage.logs.running.is_set()
    stage.clock.advance(1)
    assert stage.logs.running.wait(PATIENCE)
    assert len(stage.logs.hosts) == 3


def test_a_stop_ends_the_pause_after_a_failure(stage: Stage) -> None:
    stage.logs.errors = [ConnectionRefusedError("away")]
    stage.keeper.start()
    stage.clock.wait_for_sleeper()

    stage.end()

    assert len(stage.logs.hosts) == 1


def test_a_stop_while_the_host_is_being_made_is_heard(stage: Stage) -> None:
    stage.logs.before = stage.keeper.stop

    stage.keeper.start()

    assert stage.keeper.join(PATIENCE)
    assert not stage.logs.running.is_set()
    assert not stage.keeper.status.member


def test_one_that_was_never_started_has_ended(stage: Stage) -> None:
    assert stage.keeper.join(PATIENCE)
    assert stage.keeper.status == ShardStatus()
    stage.keeper.wake()  # nobody is there to hear it


def test_one_that_was_stopped_before_its_start_makes_no_host(stage: Stage) -> None:
    stage.keeper.stop()

    stage.keeper.start()

    assert stage.keeper.join(PATIENCE)
    assert stage.logs.hosts == []


def test_it_wakes_its_host(stage: Stage) -> None:
    stage.run()

    stage.keeper.wake()

    assert stage.logs.hosts[0].wakes == 1


def test_its_clock_is_rounded_down_to_milliseconds(stage: Stage) -> None:
    stage.run()
    stage.clock.advance(0.0019)

    assert stage.logs.now_ms() == START.timestamp() * 1000 + 1


@pytest.mark.parametrize("error", [PermissionError("no rights"), RuntimeError("a mistake")])
def test_a_failure_ends_one_that_nothing_stands_in_for_and_is_kept(
    stage: Stage, error: Exception
) -> None:
    stage.logs.errors = [error]
    thread = stage.schedules()
    thread.start()

    assert thread.join(PATIENCE)
    assert str(error) in str(thread.failure)


def test_a_broker_that_is_away_ends_none(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.logs.errors = [ConnectionError("away")]
    thread = stage.schedules()
    thread.start()
    stage.clock.wait_for_sleeper()
    stage.clock.advance(2)
    assert stage.logs.running.wait(PATIENCE)

    thread.stop()

    assert thread.join(PATIENCE)
    assert thread.failure is None
    assert events(caplog) == ["host.unreachable"]
