"""Intakes of several priority steps at one pool, with channels that the test moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from taskq.protocols import DeadLetter
from taskq.worker.allocator import Grant
from taskq.worker.delivery import Delivery
from taskq.worker.intake import Intake
from tests.integration.test_intake import Stage
from tests.support.fake_channel import FakeChannel
from tests.support.pools import record_of
from tests.support.waiting import wait_until


class Steps:
    """A stage with a second intake, of the highest step."""

    def __init__(self) -> None:
        self.low = Stage()
        self.high = FakeChannel()
        stage = self.low
        channels = iter([stage.channel, self.high])
        stage.broker.open_channel = lambda: next(channels)  # type: ignore[attr-defined]  # only workers ask
        stage.start()
        self.intake = Intake(
            "q.p9",
            stage.app,
            stage.dispatcher,
            stage.outbox,
            worker="w1",
            clock=stage.clock,
            revoked=stage.revoked,
        )
        self.intake.start()
        self.high.wait(lambda: self.high.is_listening)
        self.pool = stage.pool
        self.in_line: set[str] = set()
        """The sources that have asked for a slot and got none."""

        self._reserve = stage.dispatcher.reserve
        stage.dispatcher.reserve = self.reserve  # type: ignore[method-assign]  # to see who stands in line

    def reserve(self, queue: str, deliveries: Sequence[Delivery], step: int = 0) -> list[Grant]:
        """Reserve as the dispatcher does, and note who got nothing."""
        grants = self._reserve(queue, deliveries, step)
        if not grants:
            self.in_line.add(queue)
        return grants

    def end_first(self) -> None:
        """End the task that runs."""
        self.pool.end(self.pool.held[0])

    def started(self, count: int) -> list[str]:
        """Wait until so many have started; return their ids."""
        self.pool.wait_started(count)
        return [each.envelope.id for each in self.pool.started]

    def stop(self) -> None:
        self.intake.stop()
        self.intake.give_up()
        self.intake.let_go()
        self.low.stop()
        wait_until(lambda: not self.intake.is_running, timeout=10, what="the intake to end")


@pytest.fixture
def steps() -> Iterator[Steps]:
    steps = Steps()
    yield steps
    steps.stop()


def test_a_high_record_has_the_next_slot_whoever_waits_longer(steps: Steps) -> None:
    steps.low.channel.put(*(record_of("a", id=f"low {place}") for place in range(3)))
    steps.started(1)
    wait_until(lambda: "q" in steps.in_line, timeout=5, what="a low record in line")

    steps.high.put(record_of("a", id="high 1"), record_of("a", id="high 2"))
    wait_until(lambda: "q.p9" in steps.in_line, timeout=5, what="the high record in line")
    for count in (2, 3, 4):
        steps.end_first()
        steps.started(count)

    assert steps.started(4) == ["low 0", "high 1", "high 2", "low 1"]


def test_a_step_whose_dead_letters_are_refused_does_not_hold_up_lower_ones(steps: Steps) -> None:
    def dead_letters(letters: list[DeadLetter], *, timeout: float) -> list[Exception | None]:
        return [ConnectionError("no")] * len(letters)

    steps.low.broker.publisher.dead_letters = dead_letters  # type: ignore[method-assign,assignment]  # refuses for ever
    steps.high.put(record_of("a", id="high"), record_of("unknown"))
    steps.started(1)
    steps.high.wait(lambda: not steps.high.waiting)

    steps.end_first()
    steps.low.channel.put(record_of("a", id="low"))

    assert steps.started(2) == ["high", "low"]
