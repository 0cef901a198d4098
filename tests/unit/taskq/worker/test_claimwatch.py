from __future__ import annotations

import logging

import pytest

from taskq.worker.claimwatch import PATIENCE, ClaimWatch, OpenClaim


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", "") for record in caplog.records]


def test_quick_claims_are_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watch = ClaimWatch()

    for now in range(100):
        watch.look([OpenClaim("q", 1, float(now))], now + 0.5)
    watch.look([], 200.0)

    assert said(caplog) == []


def test_long_claim_and_its_end_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watch = ClaimWatch()
    claim = OpenClaim("q", 3, 10.0)

    watch.look([claim], 10.0 + PATIENCE)
    watch.look([claim], 100.0)
    assert said(caplog) == ["claim.unanswered"]
    watch.look([OpenClaim("q", 1, 100.5)], 101.0)
    watch.look([], 102.0)

    assert said(caplog) == ["claim.unanswered", "claim.answered"]
