"""Commits in a thread of their own, and one that never returns."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from taskq_kafka import lane
from taskq_kafka.lane import CommitLane, Forgotten

PLACES = [TopicPartition("q", 0, 5)]


class Client:
    """A Consumer that commits when it may."""

    def __init__(self) -> None:
        self.may_return = threading.Event()
        self.may_return.set()
        self.threads: list[threading.Thread] = []
        self.error: Exception | None = None
        self.closed = threading.Event()

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> Any:
        self.threads.append(threading.current_thread())
        assert self.may_return.wait(20)
        if self.error is not None:
            raise self.error
        return offsets

    def close(self) -> None:
        self.closed.set()


def lane_of(client: Client, *, is_forgotten: bool = False) -> CommitLane:
    return CommitLane(cast("Consumer", client), lambda: is_forgotten)


def test_a_commit_is_made_in_another_thread_which_ends_with_the_lane() -> None:
    client = Client()
    lane = lane_of(client)

    assert lane.commit(PLACES) == PLACES
    assert lane.commit(PLACES) == PLACES

    assert len(set(client.threads)) == 1
    assert client.threads[0] is not threading.current_thread()
    lane.close(timeout=20)
    assert not client.threads[0].is_alive()
    assert client.closed.is_set()


def test_an_error_of_a_commit_is_raised_where_it_is_waited_for() -> None:
    client = Client()
    client.error = KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
    lane = lane_of(client)

    with pytest.raises(KafkaException) as caught:
        lane.commit(PLACES)

    assert caught.value is client.error
    lane.close(timeout=20)


def test_a_commit_inside_of_a_callback_stays_in_its_thread() -> None:
    client = Client()
    lane = lane_of(client)

    with lane.inside_of_a_call():
        lane.commit(PLACES)

    assert client.threads == [threading.current_thread()]
    lane.close(timeout=20)


def test_a_commit_of_a_forgotten_member_is_left_behind_and_its_client_closed_if_it_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane, "PATIENCE", 0.01)
    client = Client()
    client.may_return.clear()
    left = lane_of(client, is_forgotten=True)

    with pytest.raises(Forgotten):
        left.commit(PLACES)
    assert not client.closed.is_set()

    client.may_return.set()
    assert client.closed.wait(20)


def test_nothing_more_is_asked_of_a_client_that_was_left_behind() -> None:
    client = Client()
    left = lane_of(client)
    left.leave_behind()

    with pytest.raises(Forgotten):
        left.commit(PLACES)

    assert not client.threads


@pytest.mark.parametrize(
    ("code", "ends"), [(KafkaError._WAIT_COORD, True), (KafkaError.NOT_COORDINATOR, False)]
)
def test_the_group_is_asked_after_many_tries_without_an_answer_and_not_where_a_broker_answers(
    code: int, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    client.error = KafkaException(KafkaError(code))
    tried = CommitLane(cast("Consumer", client), lambda: True)
    monkeypatch.setattr(lane, "PATIENCE", 20.0)
    clock = itertools.count(0, 8)
    monkeypatch.setattr(lane, "monotonic", lambda: next(clock))

    outcomes = []
    for _ in range(6):
        try:
            tried.commit(PLACES)
        except Exception as error:  # noqa: BLE001 - which one is the question
            outcomes.append(type(error))

    assert (Forgotten in outcomes) is ends
    tried.close(timeout=20)


def test_a_client_that_does_not_close_is_not_waited_for() -> None:
    class Stuck(Client):
        def close(self) -> None:
            assert self.may_return.wait(20)
            super().close()

    client = Stuck()
    client.may_return.clear()
    lane_of(client).close(timeout=0.01)

    client.may_return.set()
    assert client.closed.wait(20)


def test_a_commit_of_a_listed_member_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "PATIENCE", 0.01)
    client = Client()
    client.may_return.clear()
    looks = iter([False, False])

    def is_forgotten() -> bool:
        if next(looks, None) is None:
            client.may_return.set()
        return False

    patient = CommitLane(cast("Consumer", client), is_forgotten)

    assert patient.commit(PLACES) == PLACES
    patient.close(timeout=20)
