"""How a move may end, whatever the broker answers at whichever step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from taskq.timing.shards import Write
from taskq_kafka.errors import ClaimGivenUp, RecordTooLarge, TopicMissing, TopicUnauthorized
from taskq_kafka.moves import Ending, Mover, MoveRequest
from taskq_kafka.offsets import State
from taskq_kafka.options import TransportOptions

FENCED = KafkaError(KafkaError._FENCED, "fenced", True, False, False)
ZOMBIE = KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "who?", False, False, True)
STALE = KafkaError(KafkaError.ILLEGAL_GENERATION, "stale", False, False, True)
SILENT = KafkaError(KafkaError._TIMED_OUT, "no answer", False, True, False)


def aborting(code: int) -> KafkaError:
    return KafkaError(code, "no", False, False, True)


class FakeProducer:
    """A transactional producer whose steps fail as a test says."""

    def __init__(self, errors: dict[str, deque[KafkaError]], calls: list[str]) -> None:
        self.errors = errors
        self.calls = calls
        self.reports: list[Callable[..., None]] = []
        self.written: list[tuple[str, bytes, int]] = []
        self.delivery_error: KafkaError | None = None
        self.absent: KafkaError | None = None

    def _step(self, name: str) -> None:
        self.calls.append(name)
        if self.errors.get(name):
            raise KafkaException(self.errors[name].popleft())

    def init_transactions(self, timeout: float) -> None:
        self._step("init")

    def list_topics(self, topic: str, timeout: float) -> Any:
        described = SimpleNamespace(error=self.absent, partitions=dict.fromkeys(range(16)))
        return SimpleNamespace(topics={topic: described})

    def begin_transaction(self) -> None:
        self._step("begin")

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        partition: int,
        *,
        on_delivery: Any,
        headers: Any,
    ) -> None:
        self._step("produce")
        self.written.append((topic, key, partition))
        self.reports.append(on_delivery)

    def poll(self, timeout: float) -> None:
        pass

    def send_offsets_to_transaction(
        self, offsets: Sequence[Any], member: Any, timeout: float
    ) -> None:
        self.sent = offsets, member
        self._step("offsets")

    def commit_transaction(self, timeout: float) -> None:
        if self.delivery_error is not None:
            for report in self.reports:
                report(self.delivery_error, None)
        self._step("commit")

    def abort_transaction(self, timeout: float) -> None:
        self._step("abort")


class Bench:
    """A mover, and the producers that it makes."""

    def __init__(self, **errors: KafkaError | Sequence[KafkaError]) -> None:
        self.errors = {
            name: deque([told] if isinstance(told, KafkaError) else told)
            for name, told in errors.items()
        }
        self.calls: list[str] = []
        self.made: list[FakeProducer] = []
        self.delivery_error: KafkaError | None = None
        self.mover = Mover(
            TransportOptions(prefix="p."), new_producer=self._make, sleep=lambda seconds: None
        )

    def _make(self, config: dict[str, Any]) -> FakeProducer:
        producer = FakeProducer(self.errors, self.calls)
        producer.delivery_error = self.delivery_error
        self.made.append(producer)
        return producer

    def move(self, give_up: Callable[[], bool] = lambda: False) -> Ending:
        write = Write("taskq.timers", b"id", b"id/q-0-4", b"[]", [("task", b"t")])
        state = State(5, stamp="w.1")
        return self.mover.move(MoveRequest([write], "p.q", {0: state}, "member", give_up, [1]))


def test_a_move_writes_and_settles_in_one_transaction() -> None:
    bench = Bench()

    assert bench.move() is Ending.DONE

    assert bench.calls == ["init", "begin", "produce", "offsets", "commit"]
    [producer] = bench.made
    [offset], member = producer.sent
    assert (offset.topic, offset.partition, offset.offset, offset.metadata) == (
        "p.q",
        0,
        5,
        "tq1:ww.1",
    )
    assert member == "member"
    assert producer.written == [("p.taskq.timers", b"id/q-0-4", 0xBF396750 % 16)]


def test_the_producer_is_kept_for_the_next_move() -> None:
    bench = Bench()

    assert [bench.move(), bench.move()] == [Ending.DONE] * 2

    assert len(bench.made) == 1


@pytest.mark.parametrize("told", [ZOMBIE, STALE])
def test_who_is_no_longer_the_member_that_polled_moves_nothing(told: KafkaError) -> None:
    bench = Bench(offsets=told)

    assert bench.move() is Ending.REFUSED

    assert bench.calls[-2:] == ["offsets", "abort"]
    assert "commit" not in bench.calls


def test_a_producer_that_was_fenced_before_the_commit_moves_nothing_and_is_replaced() -> None:
    bench = Bench(offsets=FENCED)

    assert bench.move() is Ending.REFUSED
    assert bench.move() is Ending.DONE

    assert len(bench.made) == 2


def test_a_producer_that_was_fenced_at_the_commit_does_not_know_how_it_ended() -> None:
    bench = Bench(commit=FENCED)

    assert bench.move() is Ending.UNKNOWN

    assert "abort" not in bench.calls


def test_what_gets_no_answer_is_asked_again() -> None:
    bench = Bench(offsets=[SILENT] * 3, commit=[SILENT] * 2)

    assert bench.move() is Ending.DONE

    assert (bench.calls.count("offsets"), bench.calls.count("commit")) == (4, 3)


def test_a_commit_without_answer_can_be_given_up() -> None:
    bench = Bench(commit=[SILENT] * 10)

    with pytest.raises(ClaimGivenUp) as raised:
        bench.move(lambda: bench.calls.count("commit") >= 2)

    assert raised.value.tags == (1,)
    assert "abort" not in bench.calls
    bench.errors.clear()
    assert bench.move() is Ending.DONE
    assert len(bench.made) == 2


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordTooLarge),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, TopicUnauthorized),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicMissing),
    ],
)
def test_a_record_that_is_not_taken_aborts_and_tells_why(code: int, error: type[Exception]) -> None:
    bench = Bench(commit=aborting(KafkaError._INCONSISTENT))
    bench.delivery_error = KafkaError(code)

    with pytest.raises(error):
        bench.move()

    assert bench.calls[-1] == "abort"


def test_a_missing_right_to_the_transactional_id_is_told_as_such() -> None:
    denied = KafkaError(
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "denied", True, False, False
    )
    bench = Bench(init=denied)

    with pytest.raises(TopicUnauthorized, match=r"transactional id 'p\.taskq-timers-moves-"):
        bench.move()


def test_a_log_without_topic_is_an_error_before_anything_is_begun() -> None:
    bench = Bench()
    bench.move()
    bench.mover._partitions.clear()
    bench.made[0].absent = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)

    with pytest.raises(TopicMissing):
        bench.move()

    assert bench.calls.count("begin") == 1


def test_an_abort_that_fails_costs_the_producer() -> None:
    bench = Bench(offsets=ZOMBIE, abort=FENCED)

    assert bench.move() is Ending.REFUSED
    assert bench.move() is Ending.DONE

    assert len(bench.made) == 2
