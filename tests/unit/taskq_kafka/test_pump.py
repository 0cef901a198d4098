"""A consumer's thread for kombu's verbs: whoever waits for it hears of its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from taskq_kafka.errors import ConnectionBroken, TopicUnauthorized
from taskq_kafka.pump import Pump
from taskq_kafka.records import Record

PATIENCE = 10.0


class FakeConsumer:
    """Fetches what the test says, and can be held while it closes."""

    assigned = True

    def __init__(self) -> None:
        self.fetching = threading.Event()
        self.fails = threading.Event()
        self.closing = threading.Event()
        self.may_close = threading.Event()
        self.may_close.set()
        self.on_failure: Callable[[], object] = lambda: None

    def resume(self) -> None:
        pass

    def pause(self) -> None:
        pass

    def fetch(self, limit: int, timeout: float) -> Sequence[Record]:
        self.fetching.set()
        if self.fails.wait(0.001):
            self.on_failure()
            raise TopicUnauthorized("q", "no rights")
        return []

    def holds(self, record: Record) -> bool:
        return True

    def close(self) -> None:
        self.closing.set()
        self.may_close.wait(PATIENCE)


def pump_of(consumer: Any) -> Pump:
    pump = Pump("q", lambda: consumer, threading.Condition())
    pump.set_room(1)
    return pump


def test_a_question_to_a_pump_that_is_failing_gets_its_error() -> None:
    consumer = FakeConsumer()
    pump = pump_of(consumer)
    assert consumer.fetching.wait(PATIENCE)
    consumer.may_close.clear()
    consumer.fails.set()
    assert consumer.closing.wait(PATIENCE)

    answer = pump.ask(lambda _: "done")

    with pytest.raises(TopicUnauthorized):
        answer.result(0)
    with pytest.raises(TopicUnauthorized):
        pump.take()
    consumer.may_close.set()
    pump.close()


def test_a_question_that_waits_when_the_consumer_fails_gets_its_error_too() -> None:
    consumer = FakeConsumer()
    pump = pump_of(consumer)
    answers = []
    consumer.on_failure = lambda: answers.append(pump.ask(lambda _: "done"))
    consumer.fails.set()
    pump._thread.join(PATIENCE)

    (answer,) = answers

    with pytest.raises(TopicUnauthorized):
        answer.result(0)


def test_a_consumer_that_cannot_be_opened_is_the_answer_to_all_questions() -> None:
    may_open = threading.Event()

    def open_consumer() -> Any:
        may_open.wait(PATIENCE)
        raise TopicUnauthorized("q", "no rights")

    pump = Pump("q", open_consumer, threading.Condition())
    before = pump.ask(lambda _: "done")
    may_open.set()

    with pytest.raises(TopicUnauthorized):
        before.result(PATIENCE)
    with pytest.raises(TopicUnauthorized):
        pump.ask(lambda _: "done").result(0)


def test_a_closed_pump_answers_that_it_is_closed() -> None:
    pump = pump_of(FakeConsumer())
    pump.close()

    with pytest.raises(ConnectionBroken, match="closed"):
        pump.ask(lambda _: "done").result(0)


def test_an_error_of_a_question_is_its_answer_and_the_pump_goes_on() -> None:
    pump = pump_of(FakeConsumer())

    with pytest.raises(ValueError, match="invalid literal"):
        pump.ask(lambda _: int("no number")).result(PATIENCE)

    assert pump.ask(lambda _: "done").result(PATIENCE) == "done"
    pump.close()
