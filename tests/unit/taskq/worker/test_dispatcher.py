from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from taskq.clock import SystemClock
from taskq.executor import SUCCEEDED, Result
from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from tests.support.held_pool import HeldPool
from tests.support.pools import delivery_of


def _cannot_conclude(results: Sequence[tuple[Delivery, Result]]) -> None:
    raise SystemExit("a handler of the app's")


def test_slots_are_released_also_when_what_follows_fails(caplog: pytest.LogCaptureFixture) -> None:
    pool = HeldPool(1)
    dispatcher = Dispatcher(pool, claim_ahead=0, conclude=_cannot_conclude, clock=SystemClock())
    ended, returned = delivery_of("a", id="ended"), delivery_of("a")
    dispatcher.reserve("q", [ended])
    dispatcher.hand_out([ended])
    dispatcher._returned.append(returned)

    dispatcher.on_results(0, [(ended, (SUCCEEDED, 0.1, None, None))])

    assert pool.started == [ended, returned]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "a[ended]" in record.getMessage()
    assert "SystemExit" in str(record.exc_text)
