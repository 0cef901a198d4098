"""Signals: whenever one comes, it is in the pipe, or the handler from before has it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from taskq.worker.signals import ECHO_SECONDS, Signals, StopAsked
from tests.support.clock import FakeClock

NUMBERS = (signal.SIGUSR1, signal.SIGUSR2)
"""Nothing else in the tests' process wants these."""


@pytest.fixture
def before() -> Iterator[list[int]]:
    """Yield what the handlers from before were called with."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    handlers = [(number, signal.signal(number, note)) for number in NUMBERS]
    yield came
    for number, handler in handlers:
        signal.signal(number, handler)


def test_a_signal_that_comes_while_they_are_taken_over_is_not_lost(
    before: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_handler = signal.signal

    def set_and_raise(number: signal.Signals, handler: Any) -> Any:
        handler_before = set_handler(number, handler)
        signal.raise_signal(number)
        return handler_before

    monkeypatch.setattr(signal, "signal", set_and_raise)

    with Signals(NUMBERS) as signals:
        monkeypatch.undo()

        assert signals.wait(0.0) == list(NUMBERS)
    assert before == []


def test_a_signal_never_finds_a_handler_that_does_nothing_and_no_pipe(
    before: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each change of the wake-up's file, either the pipe stands or the handlers from before do."""
    lost = []
    set_file = signal.set_wakeup_fd

    def set_and_look(number: int, **options: Any) -> int:
        file_before = set_file(number, **options)
        came = len(before)
        for one in NUMBERS:
            signal.raise_signal(one)
        if number == -1 and len(before) < came + len(NUMBERS):
            lost.append(number)
        return file_before

    monkeypatch.setattr(signal, "set_wakeup_fd", set_and_look)

    with Signals(NUMBERS):
        pass

    assert lost == []


def test_what_the_handler_from_before_raises_gives_back_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    set_handler = signal.signal
    handlers = [(number, set_handler(number, interrupt)) for number in NUMBERS]

    def raise_the_second(number: signal.Signals, handler: Any) -> Any:
        if number == signal.SIGUSR2 and handler is not interrupt:
            signal.raise_signal(number)
        return set_handler(number, handler)

    monkeypatch.setattr(signal, "signal", raise_the_second)
    try:
        with pytest.raises(KeyboardInterrupt), Signals(NUMBERS):
            pytest.fail("it was entered")

        assert signal.set_wakeup_fd(-1) == -1
        assert [signal.getsignal(number) for number in NUMBERS] == [interrupt, interrupt]
    finally:
        for number, handler in handlers:
            set_handler(number, handler)


def test_before_it_is_calm_a_signal_raises_besides() -> None:
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    clock = FakeClock()

    with Signals(numbers, raising=True, clock=clock) as signals:
        with pytest.raises(StopAsked) as first:
            signal.raise_signal(signal.SIGTERM)
        clock.advance(ECHO_SECONDS)
        with pytest.raises(StopAsked) as second:
            signal.raise_signal(signal.SIGTERM)
        signals.calm()

        assert (first.value.code, second.value.code) == (0, 128 + signal.SIGTERM)
        assert signals.wait(0.0) == [signal.SIGTERM]  # whatever became of what was raised


def test_an_echo_of_the_first_stop_raises_nothing() -> None:
    with Signals((signal.SIGTERM,), raising=True, clock=FakeClock()):
        with pytest.raises(StopAsked) as asked:
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    assert asked.value.code == 0


@pytest.mark.parametrize(
    ("second", "later", "heard"),
    [
        (signal.SIGINT, 0.01, []),
        (signal.SIGTERM, 0.01, []),
        (signal.SIGTERM, ECHO_SECONDS * 0.9, []),
        (signal.SIGINT, ECHO_SECONDS, [signal.SIGINT]),
        (signal.SIGQUIT, 0.0, [signal.SIGQUIT]),
    ],
)
def test_a_stop_right_after_the_first_is_its_echo(
    second: signal.Signals, later: float, heard: list[int]
) -> None:
    clock = FakeClock()
    with Signals((signal.SIGINT, signal.SIGTERM, signal.SIGQUIT), clock=clock) as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals.wait(0.0) == [signal.SIGINT]
        clock.advance(later)
        signal.raise_signal(second)

        assert signals.wait(0.0) == heard


def test_echoes_do_not_put_off_the_second_stop() -> None:
    clock = FakeClock()
    with Signals((signal.SIGINT,), clock=clock) as signals:
        heard = []
        for _ in range(4):
            signal.raise_signal(signal.SIGINT)
            heard.append(signals.wait(0.0))
            clock.advance(ECHO_SECONDS * 0.4)

    assert heard == [[signal.SIGINT], [], [], [signal.SIGINT]]


def test_a_signal_that_never_asks_in_order_has_its_own_code_at_once() -> None:
    with Signals((signal.SIGQUIT,), raising=True), pytest.raises(StopAsked) as asked:
        signal.raise_signal(signal.SIGQUIT)

    assert asked.value.code == 128 + signal.SIGQUIT


def test_signals_that_a_module_took_for_itself_are_taken_again(before: list[int]) -> None:
    with Signals(NUMBERS, raising=True) as signals:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        signals.calm()
        signal.raise_signal(signal.SIGUSR1)

        assert signals.wait(0.0) == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) not in (signal.SIG_IGN, signal.SIG_DFL)


def test_who_waits_can_be_woken_without_a_signal() -> None:
    with Signals(NUMBERS) as signals:
        signals.wake()

        assert signals.wait(None) == []
    signals.wake()
