from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from taskq.executor import FAILED, Result
from taskq.logs import LogPlan
from taskq.registry import Registry
from taskq.worker.aftermath import Aftermath
from taskq.worker.outbox import Outbox
from tests.support.clock import FakeClock
from tests.support.fake_broker import FakePublisher
from tests.support.pools import delivery_of

PLAN = LogPlan(logging.INFO, logging.INFO, whole=False)


def test_what_cannot_be_made_into_a_dead_letter_keeps_no_other_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox = Outbox(FakePublisher, FakeClock())
    aftermath = Aftermath(Registry(), outbox, PLAN, worker="w", clock=FakeClock())
    failed: Result = (FAILED, 0.1, "failed", ("failed", "ValueError: no", "", []))
    odd: Result = (FAILED, 0.1, "failed", ("failed", cast("Any", None), "", []))
    first, second = delivery_of("a", id="odd"), delivery_of("a")

    aftermath.conclude([(first, odd), (second, failed)])

    assert [entry.name for entry in outbox.held()] == [f"the dead letter of {second}"]
    lost = [r.getMessage() for r in caplog.records if getattr(r, "event", "") == "task.unconcluded"]
    assert len(lost) == 1
    assert "a[odd]" in lost[0]
