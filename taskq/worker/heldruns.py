"""Runs again what is held for its next run (keyorder.py) when it is due, or lets go of it when the worker stops."""

from __future__ import annotations

from taskq.clock import Clock
from taskq.timing.revocation import Revocations
from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.keyed import KeyedWork
from taskq.worker.keyorder import KeyOrder
from taskq.worker.line import Line
from taskq.worker.revoked import say_not_run
from taskq.worker.settling import Settling
from taskq.worker.suspects import Suspects

_RATE_SECONDS = 0.05
"""Longest wait for one that is due and waits for its rate, or for a slot."""


class HeldRuns:
    """Of one channel; its intake's thread calls it."""

    def __init__(
        self,
        order: KeyOrder,
        keyed: KeyedWork,
        line: Line,
        dispatcher: Dispatcher,
        settling: Settling,
        suspects: Suspects,
        revoked: Revocations,
        clock: Clock,
    ) -> None:
        """Prepare.

        Args:
            order: Holds them.
            keyed: Hands to the timers what is let go of.
            line: Reserves slots.
            dispatcher: Takes what is to run.
            settling: Gives back what settles late.
            suspects: Told what starts.
            revoked: What is not to be run again.
            clock: For what is due.
        """
        self._order = order
        self._keyed = keyed
        self._line = line
        self._dispatcher = dispatcher
        self._rates = dispatcher.rates
        self._settling = settling
        self._suspects = suspects
        self._revoked = revoked
        self._clock = clock

    def run_due(self) -> bool:
        """Let run again what is due; return whether there was a slot for all of it."""
        if self._order.is_empty:
            return True
        now = self._clock.monotonic()
        due = self._order.due(now)
        if self._revoked.version:
            due = [each for each in due if not self._is_revoked(each)]
        ready, _ = self._rates.split(due, now)
        if not ready:
            return True
        batch = self._line.reserve(ready)
        if not batch:
            return False
        self._order.resume(batch)
        self._suspects.begin(batch)
        self._dispatcher.hand_out(batch)
        return len(batch) == len(ready)

    def wait(self) -> float:
        """Return the seconds until one may run again; a while, if one waits for its rate."""
        now = self._clock.monotonic()
        return _RATE_SECONDS if self._order.due(now) else self._order.wait(now)

    def let_go(self, after: float) -> None:
        """Give up what is due after an instant (monotonic seconds): give it back, or hand it to the timers."""
        gone = self._order.take_held(lambda held: held.due > after)
        if not gone:
            return
        self._keyed.hand_on(gone)
        if late := [held.delivery for held in gone if held.delivery.late]:
            self._settling.give_back(late)

    def _is_revoked(self, held: Delivery) -> bool:
        """Return whether a held task was revoked while it waited, and is ended for that."""
        if held.envelope.id not in self._revoked:
            return False
        say_not_run(held.envelope, held.record)
        self._order.resume([held])
        self._order.ended(held)
        if held.acks is not None:
            held.acks.ack([held])
        return True
