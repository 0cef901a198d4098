"""One of three brokers has died, and the others do not know yet: for seconds they tell clients of it, who then ask it in vain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq_kafka.options import TransportOptions
from taskq_kafka.questions import Questions
from taskq_kafka.retention import DEFAULT_MINUTES, offsets_retention_ms
from tests.support.cluster import KafkaCluster
from tests.support.installation import Installation
from tests.support.waiting import moment

RETENTION_MINUTES = 1234


@pytest.fixture
def slow_to_notice(kafka_home: Installation) -> Iterator[KafkaCluster]:
    """A cluster that counts a dead node among the living for longer than any client waits."""
    settings = {
        "broker.session.timeout.ms": "120000",
        "offsets.retention.minutes": str(RETENTION_MINUTES),
    }
    with KafkaCluster(settings=settings) as cluster:
        yield cluster


def test_settings_are_told_by_a_broker_that_lives(slow_to_notice: KafkaCluster) -> None:
    options = TransportOptions(bootstrap=slow_to_notice.bootstrap)
    questions = Questions(options)
    dead = min(questions.metadata("", 10).brokers)

    slow_to_notice.node(dead).kill()

    assert not questions.is_bare(moment() + 10)
    assert offsets_retention_ms(options) == RETENTION_MINUTES * 60_000 != DEFAULT_MINUTES * 60_000
    assert dead in questions.metadata("", 10).brokers, "it was gone: nothing was shown"
