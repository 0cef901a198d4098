"""What an answer to a commit means, and for how long one is waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from taskq_kafka.commits import TOPIC_PATIENCE, Answer, CommitRequest, commit
from taskq_kafka.errors import ClaimGivenUp
from taskq_kafka.offsets import State

ABSENT = KafkaError.UNKNOWN_TOPIC_OR_PART


class Broker:
    """Answers commits with what the test says, and moves its clock while somebody waits for the next try."""

    def __init__(self, answers: Callable[[int], int | dict[int, int | None] | None]) -> None:
        self.answers = answers
        """Gets the number of a try; returns an error code of the whole, or of each partition, or None."""

        self.tries = 0
        self.time = 0.0

    def commit(self, offsets: Sequence[TopicPartition]) -> list[Any]:
        told = self.answers(self.tries)
        self.tries += 1
        if isinstance(told, int):
            raise KafkaException(KafkaError(told))
        return [Place(at.partition, (told or {}).get(at.partition)) for at in offsets]

    def ask(self, *, give_up: Callable[[], bool] = lambda: False) -> Answer:
        def sleep(seconds: float) -> None:
            self.time += seconds

        states = {0: State(5, stamp="w.0"), 1: State(7, stamp="w.0")}
        return commit(
            CommitRequest(
                self.commit,
                "q",
                states,
                give_up,
                lambda _: {},
                now=lambda: self.time,
                sleep=sleep,
            )
        )


class Place:
    """One partition of an answer."""

    def __init__(self, partition: int, code: int | None) -> None:
        self.partition = partition
        self.error = None if code is None else KafkaError(code)


@pytest.mark.parametrize("answer", [ABSENT, {0: ABSENT, 1: None}])
def test_a_topic_that_the_broker_does_not_know_yet_is_asked_for_again(answer: Any) -> None:
    broker = Broker(lambda number: answer if number < 3 else None)

    assert broker.ask().accepted == {0, 1}
    assert broker.tries == 4


@pytest.mark.parametrize("answer", [ABSENT, {0: ABSENT, 1: ABSENT}])
def test_a_topic_that_stays_unknown_fails_the_commit_and_is_named_as_the_reason(
    answer: Any,
) -> None:
    broker = Broker(lambda number: answer)

    failed = broker.ask().failed

    assert set(failed) == {0, 1}
    assert all("UNKNOWN_TOPIC_OR_PART" in why for why in failed.values())
    assert broker.time == pytest.approx(TOPIC_PATIENCE, abs=0.2)


def test_a_claim_can_be_given_up_while_the_topic_is_unknown() -> None:
    broker = Broker(lambda number: ABSENT)

    with pytest.raises(ClaimGivenUp):
        broker.ask(give_up=lambda: broker.tries > 2)

    assert broker.tries == 3


def test_only_the_partition_that_stays_unknown_fails() -> None:
    broker = Broker(lambda number: {0: ABSENT, 1: None})

    answer = broker.ask()

    assert (answer.accepted, set(answer.failed)) == ({1}, {0})


def test_an_outage_does_not_use_up_the_patience_with_an_unknown_topic() -> None:
    def answers(number: int) -> int | None:
        if number == 0 or 300 < number < 310:  # a broker that has just started, twice
            return ABSENT
        return KafkaError._TRANSPORT if number < 310 else None

    assert Broker(answers).ask().accepted == {0, 1}


def test_a_commit_that_the_broker_will_not_take_is_not_repeated() -> None:
    broker = Broker(lambda number: {0: KafkaError.TOPIC_AUTHORIZATION_FAILED, 1: None})

    answer = broker.ask()

    assert (answer.accepted, set(answer.failed)) == ({1}, {0})
    assert broker.tries == 1
