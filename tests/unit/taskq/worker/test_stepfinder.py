from __future__ import annotations

from typing import cast

import pytest

from taskq.broker import Broker
from taskq.clock import SystemClock
from taskq.errors import BrokerRefused
from taskq.protocols import QueueStatus
from taskq.worker.stepfinder import StepFinder
from tests.support.fake_broker import FakeAdmin, FakeBroker


def _finder(broker: FakeBroker) -> StepFinder:
    return StepFinder(cast(Broker, broker), ["a", "b"], clock=SystemClock())


def _exist(broker: FakeBroker, *sources: str) -> None:
    broker.admin.statuses += [QueueStatus(source, 12, 0, None, 0) for source in sources]


def test_topics_that_exist_are_found_once_the_highest_first() -> None:
    broker = FakeBroker()
    _exist(broker, "a", "a.p3", "a.p9", "c.p9")
    finder = _finder(broker)

    finder.look()
    finder.look()

    assert finder.take_found() == ["a.p9", "a.p3"]
    assert finder.take_found() == []


def test_a_topic_that_appears_later_is_found_then() -> None:
    broker = FakeBroker()
    finder = _finder(broker)
    finder.look()
    assert finder.take_found() == []

    _exist(broker, "b.p6")
    finder.look()

    assert finder.take_found() == ["b.p6"]


@pytest.mark.parametrize(
    "error", [BrokerRefused("h:1", "no right Describe"), ConnectionError("gone")]
)
def test_what_the_broker_does_not_tell_is_asked_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = FakeBroker()
    _exist(broker, "a.p9")
    finder = _finder(broker)
    with monkeypatch.context() as patch:
        patch.setattr(FakeAdmin, "existing", _raise(error))
        finder.look()
    assert finder.take_found() == []

    finder.look()

    assert finder.take_found() == ["a.p9"]


def _raise(error: Exception) -> object:
    def existing(*arguments: object, **more: object) -> None:
        raise error

    return existing
