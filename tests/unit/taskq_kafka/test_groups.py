"""What a group says that it has stored, and what it means if it does not say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from taskq_kafka.groups import Groups
from taskq_kafka.offsets import State
from taskq_kafka.options import TransportOptions


def stored(answer: KafkaError | Sequence[TopicPartition]) -> dict[int, State] | None:
    """Return what a group has stored if this is the answer to the question."""

    def ask(*args: Any, timeout: float) -> list[TopicPartition]:
        if isinstance(answer, KafkaError):
            raise KafkaException(answer)
        return list(answer)

    options = TransportOptions(bootstrap="127.0.0.1:1", group="g")
    return Groups(options, ask_committed=ask).stored("q", [0, 1])


def test_partitions_without_an_offset_are_left_out() -> None:
    assert stored([TopicPartition("q", 0, 5), TopicPartition("q", 1, -1001)]) == {0: State(5)}


@pytest.mark.parametrize(
    "silence",
    [KafkaError._TRANSPORT, KafkaError.NOT_COORDINATOR, KafkaError.UNSTABLE_OFFSET_COMMIT],
)
def test_a_question_that_may_be_answered_later_has_no_answer(silence: int) -> None:
    assert stored(KafkaError(silence)) is None


@pytest.mark.parametrize(
    "refusal",
    [
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError._UNSUPPORTED_FEATURE,
    ],
)
def test_a_broker_that_will_never_tell_has_answered_and_that_is_said_once(
    refusal: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert stored(KafkaError(refusal)) == {}

    assert [getattr(record, "event", "") for record in caplog.records] == ["group.untold"]
