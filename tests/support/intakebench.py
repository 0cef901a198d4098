"""What stands around one part of an intake: a channel and a pool that a test moves, a clock that jumps, and all else as it is.

No thread is started and nothing waits: whoever would wait gets the clock moved on by as much, and is noted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from taskq.running.runresult import SUCCEEDED
from taskq.timing.revocation import Revocations
from taskq.worker.crowding import Crowding
from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.fetcher import Fetcher
from taskq.worker.intakeparts import intake_parts
from taskq.worker.keyorder import KeyOrder
from taskq.worker.lateacks import LateAcks
from taskq.worker.line import Line
from taskq.worker.outbox import Entry, Outbox
from taskq.worker.partitions import Partitions
from taskq.worker.rates import Rates
from taskq.worker.settling import Settling
from taskq.worker.suspects import Suspects
from tests.support.clock import FakeClock
from tests.support.fake_broker import isolated_app
from tests.support.fake_channel import FakeChannel
from tests.support.held_pool import HeldPool
from tests.support.pools import delivery_of

MOST_WAITS = 10_000
"""More than any test has, unless what it tests never comes to an end."""


class Waits:
    """Whoever waits is here: what was waited for and how long, and what happens meanwhile."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.told: list[tuple[str, float]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        """Called in each wait, when the clock has been moved on."""

    def wait(self, what: str, seconds: float) -> None:
        assert len(self.told) < MOST_WAITS, f"it waits for ever: {self.told[-3:]}"
        self.told.append((what, seconds))
        self._clock.advance(seconds)
        self.meanwhile()

    def of(self, what: str) -> list[float]:
        """Return the seconds of all waits for a thing."""
        return [seconds for each, seconds in self.told if each == what]


class JumpingClock(FakeClock):
    """Moves itself on when somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = Waits(self)

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        assert timeout is not None, "it would wait for ever"
        self.waits.wait("event", timeout)
        return event.is_set()


class JumpingDispatcher(Dispatcher):
    """Notes waits for a slot."""

    waits: Waits

    def wait_for_change(self, version: int, timeout: float) -> None:
        self.waits.wait("slot" if version == self.version else "nothing", timeout)


class JumpingOrder(KeyOrder):
    """Notes waits for keys."""

    waits: Waits

    def wait_for_news(self, timeout: float) -> None:
        self.waits.wait("key", timeout)


class JumpingAcks(LateAcks):
    """Notes waits for ends."""

    waits: Waits

    def wait_for_news(self, timeout: float) -> None:
        self.waits.wait("end", timeout)

    def wait_ended(
        self,
        partitions: Collection[int],
        timeout: float,
        *,
        unless: Callable[[], bool],
        but: Callable[[Delivery], bool] = lambda delivery: False,
    ) -> None:
        def is_over() -> bool:
            return unless() or all(
                each.record.partition not in partitions or but(each)
                for each in self._at_work.values()
            )

        end = self._monotonic() + timeout
        while not is_over() and self._monotonic() < end:
            self.waits.wait("ends", end - self._monotonic())


class IntakeBench:
    """One slot, an intake of the queue `q` with three partitions, and nothing in hand."""

    def __init__(self) -> None:
        self.clock = JumpingClock()
        self.waits = self.clock.waits
        self.channel = FakeChannel()
        self.channel.partitions = (0, 1, 2)
        self.app, self.broker = isolated_app()
        self.outbox = Outbox(
            lambda: self.broker.publisher, lambda: self.broker.logs, self.clock
        )  # not started: what is put there stays
        self.pool = HeldPool(1)
        self.dispatcher = JumpingDispatcher(
            self.pool,
            claim_ahead=0,
            conclude=lambda results: None,
            clock=self.clock,
            rates=Rates({"limited": 1 / 3600}),
        )
        self.dispatcher.waits = self.waits
        parts = intake_parts(
            "q",
            self.app,
            self.dispatcher,
            self.outbox,
            step=0,
            worker="w1",
            clock=self.clock,
            revoked=Revocations(),
        )
        self.stopping, self.letting_go = parts.stopping, parts.letting_go
        self.hand, self.keyed, self.progress = parts.hand, parts.keyed, parts.progress
        self.order = JumpingOrder()
        self.order.waits = self.waits
        self.settling = Settling(self.channel, self.order, self.clock)
        self.late = self.settling.late = JumpingAcks(self.clock.monotonic)
        self.late.waits = self.waits
        self.suspects = Suspects(self.channel, self.dispatcher, self.clock)
        self.line = Line("q", 0, self.dispatcher, self.suspects)
        self.crowding = Crowding("q", self.channel, self.hand, self.order, self.clock)
        self.fetcher = Fetcher(
            self.channel,
            self.hand,
            self.line,
            self.settling,
            self.keyed,
            Partitions("q", self.app),
            parts.blocked,
            parts.rebalances,
            self.crowding,
            progress=self.progress,
            clock=self.clock,
        )

    def put_in_hand(
        self, task: str = "a", *, partition: int = 0, key: bytes | None = None
    ) -> Delivery:
        """Have a record fetched."""
        delivery = delivery_of(task, partition=partition, key=key)
        self.channel.fetched[delivery.record.delivery_tag] = delivery.record
        self.hand.put(delivery, is_again=False)
        return delivery

    def begin(
        self, task: str = "a", *, partition: int = 0, key: bytes | None = None, late: bool = False
    ) -> Delivery:
        """Have a task at work that takes no slot of ours."""
        delivery = delivery_of(task, partition=partition, key=key)
        delivery.late = late
        self.order.begin([delivery])
        if late:
            self.channel.fetched[delivery.record.delivery_tag] = delivery.record
            self.late.begin([delivery])
        return delivery

    def hold(self, delivery: Delivery, *, after: float) -> Delivery:
        """Have a task with a key wait for its next run, so many seconds from now; return that run."""
        again = delivery.again(delivery.record, delivery.envelope)
        if delivery.late:
            self.late.go_on(delivery, again)
        due = self.clock.monotonic() + after
        assert self.order.hold(delivery, again, due=due, due_ms=0)
        return again

    def fill(self) -> Delivery:
        """Have a task take the only slot."""
        delivery = delivery_of("a")
        assert self.dispatcher.reserve("q", [delivery])
        self.dispatcher.hand_out([delivery])
        return delivery

    def end(self, delivery: Delivery) -> None:
        """Free the slot of a task."""
        self.pool.held.remove(delivery)
        self.dispatcher.on_results(0, [(delivery, (SUCCEEDED, 0.1, None, None))])

    @property
    def handed_on(self) -> list[Entry]:
        """What is to be written."""
        return self.outbox.held()
