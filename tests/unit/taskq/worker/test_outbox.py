from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from taskq.protocols import DeadLetter, Outgoing
from taskq.timing.shards import Write
from taskq.worker.outbox import Entry, Outbox
from tests.support.clock import FakeClock
from tests.support.fake_broker import FakePublisher
from tests.support.fake_logs import FakeLogs
from tests.support.pools import record_of
from tests.support.waiting import wait_until


class Refusing(FakePublisher):
    """Refuses so many writes, then takes them."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def dead_letters(
        self, letters: Sequence[DeadLetter], *, timeout: float
    ) -> Sequence[Exception | None]:
        if self.times:
            self.times -= 1
            return [ConnectionError("away")] * len(letters)
        return super().dead_letters(letters, timeout=timeout)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def publisher() -> Refusing:
    return Refusing(0)


@pytest.fixture
def logs() -> FakeLogs:
    return FakeLogs()


@pytest.fixture
def outbox(publisher: Refusing, logs: FakeLogs, clock: FakeClock) -> Iterator[Outbox]:
    outbox = Outbox(lambda: publisher, lambda: logs, clock)
    outbox.start()
    yield outbox
    outbox.close()
    clock.advance(100)


def _letter() -> Entry:
    return Entry(DeadLetter(record_of("a"), []), "the dead letter")


def _message(queue: str) -> Entry:
    return Entry(Outgoing(queue, b"", []), f"a message to {queue}")


def test_a_follow_up_that_can_never_be_sent_becomes_a_dead_letter_of_its_task(
    outbox: Outbox, publisher: Refusing
) -> None:
    class TooLarge(Exception):
        sent = False

    publisher.fails = lambda message: TooLarge("2 MB")
    reasons: list[str] = []

    def instead(why: str) -> Entry:
        reasons.append(why)
        return _letter()

    outbox.put([replace(_message("x"), instead=instead)])
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert reasons == ["2 MB"]
    assert (len(publisher.letters), publisher.sent) == (1, [])


def test_letters_and_messages_are_written(outbox: Outbox, publisher: Refusing) -> None:
    outbox.put([_message("x"), _letter(), _message("y")])
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert [message.queue for message in publisher.sent] == ["x", "y"]
    assert len(publisher.letters) == 1


def test_a_letter_that_cannot_be_written_is_held_and_repeated(
    outbox: Outbox, publisher: Refusing, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.times = 2

    outbox.put([_letter()])
    clock.wait_for_sleeper()
    held = len(outbox.held())
    clock.advance(0.5)
    wait_until(lambda: publisher.times == 0, timeout=5, what="the second try")
    clock.wait_for_sleeper()
    clock.advance(1.0)
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert held == 1
    assert len(publisher.letters) == 1
    assert [getattr(each, "event", "") for each in caplog.records] == ["outbox.failed"] * 2


def test_a_message_that_may_have_been_sent_is_not_sent_again(
    outbox: Outbox, publisher: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.fails = lambda message: TimeoutError("no answer") if message.queue == "x" else None

    outbox.put([_message("x"), _message("y")])
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert [message.queue for message in publisher.sent] == ["y"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "a message to x" in caplog.records[0].getMessage()


def test_a_message_that_was_certainly_not_sent_is_sent_again(
    outbox: Outbox, publisher: Refusing, clock: FakeClock
) -> None:
    class NotSent(Exception):
        sent = False

    publisher.fails = lambda message: NotSent()
    outbox.put([_message("x")])
    clock.wait_for_sleeper()

    publisher.fails = lambda message: None
    clock.advance(1)
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert [message.queue for message in publisher.sent] == ["x"]


def test_what_waits_for_several_writes_is_told_when_all_are_acknowledged(
    outbox: Outbox, publisher: Refusing, clock: FakeClock
) -> None:
    publisher.times = 1
    told: list[int] = []

    outbox.put([_message("x"), _letter()], then=lambda: told.append(len(publisher.letters)))
    clock.wait_for_sleeper()
    told_before = list(told)
    clock.advance(1)
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert (told_before, told) == ([], [1])


def test_a_message_that_may_have_been_sent_is_sent_again_for_who_waits_for_it(
    outbox: Outbox, publisher: Refusing, clock: FakeClock
) -> None:
    publisher.fails = lambda message: TimeoutError("no answer")
    told: list[bool] = []

    outbox.put([_message("x")], then=lambda: told.append(True))
    clock.wait_for_sleeper()
    publisher.fails = lambda message: None
    clock.advance(1)
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert [message.queue for message in publisher.sent] == ["x"]
    assert told == [True]


def test_a_dead_letter_in_place_of_a_follow_up_is_waited_for_too(
    outbox: Outbox, publisher: Refusing, clock: FakeClock
) -> None:
    class TooLarge(Exception):
        sent = False

    publisher.fails = lambda message: TooLarge("2 MB")
    publisher.times = 1
    told: list[int] = []

    outbox.put(
        [replace(_message("x"), instead=lambda why: _letter())],
        then=lambda: told.append(len(publisher.letters)),
    )
    clock.wait_for_sleeper()
    clock.advance(1)
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert told == [1]


class NotSent(Exception):
    sent = False


def _retry() -> Entry:
    return Entry(
        Write("taskq.timers", b"id", b"id/1", b""),
        "the retry",
        lambda why: replace(_letter(), name=f"instead: {why}"),
        lambda why: replace(_letter(), name=f"in doubt: {why}"),
    )


def test_a_retry_that_cannot_be_written_is_held_and_repeated(
    outbox: Outbox, logs: FakeLogs, clock: FakeClock, publisher: Refusing
) -> None:
    class Away(NotSent, ConnectionError):
        pass

    logs.append_error = Away()
    outbox.put([_message("x"), _retry()])
    clock.wait_for_sleeper()
    held = [entry.name for entry in outbox.held()]

    logs.append_error = None
    clock.advance(1)
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert held == ["the retry"]
    assert (len(logs.written), len(publisher.sent), publisher.letters) == (1, 1, [])


def test_a_retry_that_may_have_been_written_is_a_dead_letter_and_not_written_again(
    outbox: Outbox, logs: FakeLogs, publisher: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    logs.append_error = TimeoutError("no answer")

    outbox.put([_retry()])
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert (len(publisher.letters), logs.written) == (1, [])
    assert [getattr(each, "event", "") for each in caplog.records] == ["outbox.unknown"]


def test_a_retry_that_can_never_be_written_is_a_dead_letter(
    outbox: Outbox, logs: FakeLogs, publisher: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    logs.append_error = NotSent("no right to write")

    outbox.put([_retry()])
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert (len(publisher.letters), logs.written) == (1, [])
    assert [getattr(each, "event", "") for each in caplog.records] == ["outbox.refused"]


def test_a_retry_that_may_have_been_written_is_written_again_for_who_waits_for_it(
    outbox: Outbox, logs: FakeLogs, publisher: Refusing, clock: FakeClock
) -> None:
    logs.append_error = TimeoutError("no answer")
    told: list[int] = []

    outbox.put([_retry()], then=lambda: told.append(len(logs.written)))
    clock.wait_for_sleeper()
    told_before = list(told)
    logs.append_error = None
    clock.advance(1)
    wait_until(lambda: outbox.is_empty, timeout=5, what="the write")

    assert (told_before, told, publisher.letters) == ([], [1], [])
