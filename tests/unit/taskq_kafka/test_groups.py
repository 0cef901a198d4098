"""What a group says that it has stored, and what it means if it does not say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from taskq_kafka.coordinator import CoordinatorClient
from taskq_kafka.groups import Groups
from taskq_kafka.offsets import State
from taskq_kafka.options import TransportOptions


class FakeCoordinator(CoordinatorClient):
    """Answers each question with what the test has given it."""

    def __init__(self, answer: BaseException | Sequence[TopicPartition]) -> None:
        self.answer = answer

    def ask(self, question: Any, *, timeout: float) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return ConsumerGroupTopicPartitions("g", list(self.answer))


def stored(
    answer: BaseException | Sequence[TopicPartition],
) -> dict[int, State] | None:
    options = TransportOptions(bootstrap="127.0.0.1:1", group="g")
    return Groups(options, coordinator=FakeCoordinator(answer)).stored("q", [0, 1])


def place(partition: int, offset: int, *, error: int | None = None) -> TopicPartition:
    """Return a place of an answer, which may hold an error."""

    class Place(TopicPartition):
        @property
        def error(self) -> KafkaError | None:  # type: ignore[override]  # the client's is an attribute
            return None if error is None else KafkaError(error)

    return Place("q", partition, offset)


def test_partitions_without_an_offset_are_left_out() -> None:
    assert stored([place(0, 5), place(1, -1001)]) == {0: State(5)}


@pytest.mark.parametrize(
    "silence",
    [
        FutureTimeoutError(),
        KafkaException(KafkaError(KafkaError._TRANSPORT)),
        KafkaException(KafkaError(KafkaError.NOT_COORDINATOR)),
        [place(0, 5), place(1, -1, error=KafkaError.UNSTABLE_OFFSET_COMMIT)],
    ],
)
def test_a_question_that_may_be_answered_later_has_no_answer(silence: Any) -> None:
    assert stored(silence) is None


@pytest.mark.parametrize(
    ("refusal", "known"),
    [
        (KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)), {}),
        (KafkaException(KafkaError(KafkaError._UNSUPPORTED_FEATURE)), {}),
        (
            [place(0, 5), place(1, -1, error=KafkaError.TOPIC_AUTHORIZATION_FAILED)],
            {0: State(5)},
        ),
    ],
)
def test_a_broker_that_will_never_tell_has_answered_and_that_is_said_once(
    refusal: Any, known: dict[int, State], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert stored(refusal) == known

    assert [getattr(record, "event", "") for record in caplog.records] == ["group.untold"]
