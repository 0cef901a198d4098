from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from taskq.broker import Broker
from taskq.clock import SystemClock
from taskq.errors import BrokerRefused
from taskq.worker.trimmer import Trimmer
from tests.support.fake_broker import FakeBroker


def _trimmer(broker: FakeBroker, owned: Sequence[str] = ("a", "b"), keep: float = 60.0) -> Trimmer:
    return Trimmer(cast(Broker, broker), lambda: owned, keep=keep, clock=SystemClock())


def test_the_queues_that_are_ours_are_trimmed() -> None:
    broker = FakeBroker()

    _trimmer(broker).trim()
    _trimmer(broker, owned=()).trim()

    assert broker.admin.trimmed == [(("a", "b"), 60.0)]


def test_missing_rights_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    broker = FakeBroker()
    broker.admin.trim_error = BrokerRefused("h:1", "no right Delete")
    trimmer = _trimmer(broker)

    trimmer.trim()
    trimmer.trim()

    (record,) = caplog.records
    assert record.__dict__["event"] == "trim.refused"
    assert "finished tasks stay in a, b" in record.getMessage()
    assert "no right Delete" in record.getMessage()


def test_a_broker_that_is_away_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    broker = FakeBroker()
    broker.admin.trim_error = ConnectionError("gone")

    _trimmer(broker).trim()

    assert not caplog.records


def test_an_unthought_of_failure_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    broker = FakeBroker()
    broker.admin.trim_error = KeyError("a bug")

    _trimmer(broker).trim()

    assert [record.__dict__["event"] for record in caplog.records] == ["trim.failed"]


def test_without_an_end_to_keeping_no_thread_starts() -> None:
    trimmer = _trimmer(FakeBroker(), keep=0)

    trimmer.start()

    assert not trimmer._thread.is_alive()
