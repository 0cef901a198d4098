"""What the worker asks of a pool, and what a pool tells the worker. Nothing here does anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskq.running.runresult import Result
from taskq.worker.delivery import Delivery


class PoolEvents(Protocol):
    """Told by a pool, from its own threads. Every method returns soon and does not raise."""

    def on_results(self, lane: int, results: Sequence[tuple[Delivery, Result]]) -> None:
        """Deliveries of a lane ended; the lane has room for others."""

    def on_returned(self, deliveries: Sequence[Delivery]) -> None:
        """Deliveries came back that were certainly not started: recalled, or their child died before them."""

    def on_slow(self, delivery: Delivery) -> None:
        """A delivery runs longer than its average promised: its lane gets nothing ahead until it ends."""

    def on_lane(self, lane: int, *, is_open: bool) -> None:
        """A lane can take deliveries now, or cannot any more."""


class Pool(Protocol):
    """Runs deliveries in lanes of slots."""

    @property
    def widths(self) -> Sequence[int]:
        """The number of slots of each lane."""

    @property
    def uses_main_thread(self) -> bool:
        """Whether `serve` must be called in the process's main thread."""

    @property
    def starts_beside(self) -> bool:
        """Whether all of its start happens beside the caller, in processes: then it begins before the broker is asked."""

    @property
    def is_ready(self) -> bool:
        """Whether every lane has been open once: start-up, with the start hooks, is over."""

    @property
    def broken(self) -> str | None:
        """Why the pool cannot go on, in one sentence; None while it can."""

    def start(self, events: PoolEvents) -> None:
        """Begin to start; returns before the lanes are open."""

    def serve(self) -> None:
        """Run tasks in the calling thread until `shut_down` or `kill`; pools that do not use the main thread return at once."""

    def send(self, lane: int, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries to a lane. Any thread may call it; never waits for a task or a child."""

    def tick(self) -> None:
        """Do what time brings: replace dead children, call back what waits behind a slow task. Called every 50 ms or so."""

    def drop(self, deliveries: Sequence[Delivery]) -> None:
        """Have deliveries that are revoked not start, and end those that run and are to end; what is not held is passed over.

        What is not done at once may be done when it is called again, which it is as long as it is unfinished: with `tick`, and
        by the same thread.
        """

    def unfinished(self) -> list[Delivery]:
        """Return what the lanes hold: handed over and not reported."""

    def shut_down(self) -> None:
        """Let the lanes end after what they hold, with the shutdown hooks; returns at once. `is_down` tells when they have."""

    @property
    def is_down(self) -> bool:
        """Whether everything has ended after `shut_down`."""

    def kill(self) -> None:
        """End everything now. What the lanes hold is abandoned and not reported."""
