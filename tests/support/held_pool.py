"""A pool whose tasks run until a test ends them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from taskq.running.runresult import FAILED, SUCCEEDED, Result
from taskq.worker.delivery import Delivery
from taskq.worker.pools.protocol import PoolEvents


class HeldPool:
    """A `taskq.worker.pools.protocol.Pool`; lanes of one slot."""

    uses_main_thread = False
    starts_beside = False

    def __init__(self, slots: int) -> None:
        self.widths = [1] * slots
        self.change = threading.Condition()
        self.held: list[Delivery] = []
        self.started: list[Delivery] = []
        self.is_ready = False
        self.is_down = False
        self.is_killed = False
        self.broken: str | None = None
        self.events: PoolEvents | None = None
        self.dropped: list[Delivery] = []

    def start(self, events: PoolEvents) -> None:
        self.events = events
        self.is_ready = True

    def serve(self) -> None:
        """Return at once."""

    def send(self, lane: int, deliveries: Sequence[Delivery]) -> None:
        with self.change:
            self.held += deliveries
            self.started += deliveries
            self.change.notify_all()

    def tick(self) -> None:
        """Do nothing."""

    def drop(self, deliveries: Sequence[Delivery]) -> None:
        self.dropped += deliveries

    def unfinished(self) -> list[Delivery]:
        return list(self.held)

    def shut_down(self) -> None:
        self.is_down = True

    def kill(self) -> None:
        self.is_killed = True

    def wait_started(self, count: int) -> None:
        """Wait until so many deliveries were handed over."""
        with self.change:
            assert self.change.wait_for(lambda: len(self.started) >= count, 10), self.started

    def end(self, delivery: Delivery, *, runtime: float = 0.5, error: str = "") -> None:
        """End a task: it succeeded, or failed with `error`."""
        result: Result = (SUCCEEDED, runtime, None, None)
        if error:
            result = (FAILED, runtime, "failed", ("failed", error, "trace", []))
        self.held.remove(delivery)
        assert self.events is not None
        self.events.on_results(delivery.lane, [(delivery, result)])
