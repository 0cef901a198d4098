"""How long the broker keeps offsets, where it does not say."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from taskq_kafka import forks
from taskq_kafka.options import TransportOptions
from taskq_kafka.retention import DEFAULT_MINUTES, offsets_retention_ms


class SilentAdmin:
    """Is connected, and answers no question about settings."""

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(brokers={1: None})

    def describe_configs(self, resources: list[Any], request_timeout: float) -> dict[Any, Any]:
        class Unanswered(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                return super().result(0)

        return {resources[0]: Unanswered()}


def test_a_broker_that_does_not_answer_keeps_offsets_for_the_default(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(forks, "new_admin", lambda config: SilentAdmin())

    # The time limit of a future is an error of its own class before Python 3.11.
    with caplog.at_level(logging.WARNING):
        assert offsets_retention_ms(TransportOptions()) == DEFAULT_MINUTES * 60_000

    assert [getattr(record, "event", "") for record in caplog.records] == [
        "broker.retention_unknown"
    ]
