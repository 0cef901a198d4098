"""A question that any broker could answer is asked of the next where one is silent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq_kafka.anybroker import PATIENCE, ask_any
from tests.support.waiting import moment

FOREVER = 1000.0


class Brokers:
    """Some that answer and some that do not; keeps who was asked, and for how long."""

    def __init__(self, *silent: str) -> None:
        self.silent = silent
        self.asked: list[str] = []
        self.patience: list[float] = []

    def ask(self, broker: str, until: float) -> str:
        self.asked.append(broker)
        self.patience.append(until - moment())
        if broker in self.silent:
            raise ConnectionError(broker)
        return broker


def test_a_silent_broker_is_not_the_last_to_be_asked() -> None:
    brokers = Brokers("1", "2")

    assert ask_any(lambda: [1, 2, 3], brokers.ask, moment() + FOREVER) == "3"

    assert max(brokers.patience[:2]) <= PATIENCE


def test_the_first_that_answers_is_the_last_to_be_asked() -> None:
    brokers = Brokers()

    ask_any(lambda: [1, 2, 3], brokers.ask, moment() + FOREVER)

    assert brokers.asked == ["1"]


def test_a_single_broker_has_all_the_time_there_is() -> None:
    brokers = Brokers()

    ask_any(lambda: [1], brokers.ask, moment() + FOREVER)

    assert brokers.patience[0] > PATIENCE


def test_nobody_is_asked_for_longer_than_the_deadline() -> None:
    brokers = Brokers("1")

    ask_any(lambda: [1, 2], brokers.ask, moment() + 0.5)

    assert max(brokers.patience) <= 0.5


def test_the_error_of_the_last_is_raised_where_all_are_silent() -> None:
    with pytest.raises(ConnectionError, match=r"^2$"):
        ask_any(lambda: [1, 2], Brokers("1", "2").ask, moment() + FOREVER)


def test_a_refusal_is_an_answer() -> None:
    asked = []

    def refuse(broker: str, until: float) -> None:
        asked.append(broker)
        raise ValueError(broker)

    with pytest.raises(ValueError, match=r"^1$"):
        ask_any(lambda: [1, 2], refuse, moment() + FOREVER)
    assert asked == ["1"]


def test_a_broker_is_asked_where_none_is_known() -> None:
    assert ask_any(list, Brokers().ask, moment()) == "0"


def test_brokers_are_waited_for_while_none_is_named() -> None:
    looks: Iterator[list[int]] = iter([[], [7]])

    assert ask_any(lambda: next(looks), Brokers().ask, moment() + FOREVER) == "7"
