"""The thread of a host: ends with it, begins anew where the broker is away, and keeps why it failed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from taskq import hostthread
from taskq.hostthread import HostThread
from taskq.shards import ShardStatus


class Host:
    """A host that does in `run` what it is told."""

    def __init__(self, run: Callable[[Host], None]) -> None:
        self._run = run
        self.begun = threading.Event()
        self.stopped = threading.Event()
        self.is_woken = False

    def run(self) -> None:
        self.begun.set()
        self._run(self)

    def stop(self) -> None:
        self.stopped.set()

    def wake(self) -> None:
        self.is_woken = True

    def status(self) -> ShardStatus:
        return ShardStatus(member=True)


def last(host: Host) -> None:
    assert host.stopped.wait(5)


def fail(error: Exception) -> Callable[[Host], None]:
    def run(host: Host) -> None:
        raise error

    return run


def test_it_runs_the_host_until_it_is_stopped() -> None:
    host = Host(last)
    thread = HostThread("n", lambda: host)
    thread.start()
    assert host.begun.wait(5)
    thread.wake()
    status = thread.status()

    thread.stop()

    assert thread.join(5)
    assert thread.failure is None
    assert host.is_woken
    assert status.member


def test_it_has_no_place_before_its_host_is_there() -> None:
    assert HostThread("n", lambda: Host(last)).status() == ShardStatus()


def test_stop_before_the_start_leaves_nothing_running() -> None:
    host = Host(last)
    thread = HostThread("n", lambda: host)
    thread.stop()

    thread.start()

    assert thread.join(5)
    assert not host.begun.is_set()


def test_refusal_ends_it_and_is_kept() -> None:
    thread = HostThread("n", lambda: Host(fail(PermissionError("no rights"))))
    thread.start()

    assert thread.join(5)
    assert str(thread.failure) == "no rights"


def test_broker_that_is_away_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hostthread, "_AGAIN", 0.001)
    hosts = [Host(fail(ConnectionError("away"))), Host(last)]
    later = hosts[1]
    thread = HostThread("n", lambda: hosts.pop(0))
    thread.start()
    assert later.begun.wait(5)

    thread.stop()

    assert thread.join(5)
    assert [record.event for record in caplog.records] == ["host.unreachable"]  # type: ignore[attr-defined]
