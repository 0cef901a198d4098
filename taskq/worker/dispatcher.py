"""Where intakes, pool and supervisor meet: reservations, handing out, results. One lock, held for microseconds."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from taskq.clock import Clock
from taskq.logs import log_failure
from taskq.running.runresult import Result, revoked
from taskq.worker.allocator import Allocator, Grant
from taskq.worker.delivery import Delivery
from taskq.worker.pools.protocol import Pool
from taskq.worker.rates import Rates
from taskq.worker.runtimes import Runtimes

logger = logging.getLogger(__name__)

Conclude = Callable[[Sequence[tuple[Delivery, Result]]], None]
"""Told of results, before their slots are free."""


class Revoked(Protocol):
    """Which tasks are revoked; see `taskq.timing.revocation.Revocations`."""

    def __len__(self) -> int:
        """Return how many."""

    def __contains__(self, id: object) -> bool:
        """Return whether one is."""

    def terminates(self, id: str) -> bool:
        """Return whether a task is to be ended, too, if it runs."""


class Dispatcher:
    """Thread-safe. What is handed out was claimed: it is in the pool or among the returned until its result has come."""

    def __init__(
        self,
        pool: Pool,
        *,
        claim_ahead: int,
        conclude: Conclude,
        clock: Clock,
        rates: Rates | None = None,
    ) -> None:
        """Make the lanes for a pool.

        Args:
            pool: Runs what is handed out; not started yet.
            claim_ahead: Records a slot may hold ahead at most.
            conclude: Told of results, in the pool's threads.
            clock: For how long all slots have been busy.
            rates: How often tasks may start; None: as they come.
        """
        self.rates = rates or Rates({})
        self._pool = pool
        self._conclude = conclude
        self._clock = clock
        self._runtimes = Runtimes()
        self._allocator = Allocator(pool.widths, self._runtimes, claim_ahead=claim_ahead)
        self._change = threading.Condition()
        self._version = 0
        self._returned: deque[Delivery] = deque()
        self._full_since: float | None = None

    # For intakes

    @property
    def slots(self) -> int:
        """How many tasks run at a time, all lanes together."""
        return sum(self._pool.widths)

    @property
    def free(self) -> int:
        """How many slots are free."""
        with self._change:
            return self._allocator.free

    def capacity(self, task: str | None) -> int:
        """Return how many records of a task (None: of an unknown one) can be held at a time, with what is claimed ahead."""
        with self._change:
            return self._allocator.capacity(task)

    def reserve(self, queue: str, deliveries: Sequence[Delivery], step: int = 0) -> list[Grant]:
        """Reserve slots for a prefix of the deliveries; see `Allocator.place`."""
        with self._change:
            grants = self._allocator.place(queue, deliveries, step)
            if grants:
                self._note_full()
            return grants

    def cancel(self, deliveries: Sequence[Delivery]) -> None:
        """Give reservations back: the claim was refused."""
        self._release(deliveries)

    def hand_out(self, deliveries: Sequence[Delivery]) -> None:
        """Give claimed deliveries to their lanes. From here on they run, or are named as lost."""
        send = self._pool.send
        start = 0
        total = len(deliveries)
        while start < total:
            lane = deliveries[start].lane
            stop = start + 1
            while stop < total and deliveries[stop].lane == lane:
                stop += 1
            send(lane, deliveries[start:stop])
            start = stop

    @property
    def is_shared(self) -> bool:
        """Whether one process runs several tasks at a time, so that others wait while a suspect is alone at work."""
        return self._allocator.is_shared

    def let_off(self, delivery: Delivery) -> None:
        """Treat a suspect as any other from now on."""
        with self._change:
            self._allocator.let_off(delivery)
            self._changed()

    def leave_line(self, queue: str) -> None:
        """Say that a queue wants nothing now."""
        with self._change:
            if self._allocator.leave_line(queue):
                self._changed()

    @property
    def version(self) -> int:
        """Counts the changes that may have made room."""
        return self._version

    def wait_for_change(self, version: int, timeout: float) -> None:
        """Wait until something changed since `version`, at most `timeout` seconds."""
        with self._change:
            self._change.wait_for(lambda: self._version != version, timeout)

    def full_for(self) -> float:
        """Return for how many seconds no slot has been free; 0 if one is."""
        with self._change:
            since = self._full_since
        return 0.0 if since is None else self._clock.monotonic() - since

    def wake_all(self) -> None:
        """Wake all that wait for a change, to look at something else."""
        with self._change:
            self._changed()

    # For the supervisor

    @property
    def has_ahead(self) -> bool:
        """Whether a lane holds more than it has slots."""
        with self._change:
            return any(map(self._allocator.is_ahead, range(len(self._pool.widths))))

    @property
    def busy(self) -> int:
        """How many slots have a task, or are reserved for one."""
        with self._change:
            return self._allocator.busy

    @property
    def is_idle(self) -> bool:
        """Whether nothing is reserved, held or returned."""
        with self._change:
            return not self._allocator.held and not self._returned

    def unfinished(self) -> list[Delivery]:
        """Return what was handed out and has no result."""
        with self._change:
            returned = list(self._returned)
        return returned + self._pool.unfinished()

    def drop_revoked(self, tasks: Revoked) -> None:
        """Have what is handed out and revoked not start, and end what runs of it that is to be ended.

        Called again and again: what is on its way somewhere at the moment is met by a later call.
        """
        if not len(tasks):
            return
        found = []
        for delivery in self.unfinished():
            id = delivery.envelope.id
            if id in tasks:
                delivery.is_to_end = tasks.terminates(id)
                delivery.is_revoked = True
                found.append(delivery)
        if found:
            self._drop_returned()
            self._pool.drop(found)

    def _drop_returned(self) -> None:
        with self._change:
            dropped = [each for each in self._returned if each.is_revoked]
            if not dropped:
                return
            kept = [each for each in self._returned if not each.is_revoked]
            self._returned = deque(kept)
            self._changed()
        self._conclude_revoked(dropped)

    # For the pool

    def on_results(self, lane: int, results: Sequence[tuple[Delivery, Result]]) -> None:
        """Take results from the pool; see `PoolEvents`."""
        # First, so that whoever finds all idle finds the dead letters in the outbox.
        self._try_to_conclude(results)
        observe = self._runtimes.observe
        with self._change:
            for delivery, result in results:
                if result[1]:
                    observe(delivery.task, result[1])
            self._allocator.release([delivery for delivery, _ in results])
            again = self._place_returned()
            self._changed()
        self.hand_out(again)

    def on_returned(self, deliveries: Sequence[Delivery]) -> None:
        """Take back deliveries that were not started, and drop those that are revoked; see `PoolEvents`."""
        dropped = [each for each in deliveries if each.is_revoked]
        if dropped:
            self._conclude_revoked(dropped)
        with self._change:
            self._allocator.release(deliveries)
            self._returned.extend(each for each in deliveries if not each.is_revoked)
            again = self._place_returned()
            self._changed()
        self.hand_out(again)

    def on_slow(self, delivery: Delivery) -> None:
        """Give a lane nothing ahead for now; see `PoolEvents`."""
        with self._change:
            self._allocator.found_slow(delivery)

    def on_lane(self, lane: int, *, is_open: bool) -> None:
        """Note that a lane can or cannot take deliveries; see `PoolEvents`."""
        with self._change:
            self._allocator.set_open(lane, is_open)
            again = self._place_returned()
            self._changed()
        self.hand_out(again)

    def _conclude_revoked(self, deliveries: Sequence[Delivery]) -> None:
        self._try_to_conclude([(delivery, revoked()) for delivery in deliveries])

    def _try_to_conclude(self, results: Sequence[tuple[Delivery, Result]]) -> None:
        try:
            self._conclude(results)
        except BaseException:  # noqa: BLE001 - the app's log handlers are called there
            # The slots are free whatever happens: a thread of the pool that ended here would leave the worker idle for ever.
            log_failure(
                logger,
                "what follows the end of %d tasks went wrong, the first of them %s",
                len(results),
                results[0][0],
                extra={"event": "task.unconcluded"},
            )
        for delivery, _ in results:
            if delivery.order is not None:  # also after a failure: its key would be busy for ever
                delivery.order.ended(delivery)

    # Within the lock

    def _release(self, deliveries: Sequence[Delivery]) -> None:
        with self._change:
            self._allocator.release(deliveries)
            again = self._place_returned()
            self._changed()
        self.hand_out(again)

    def _place_returned(self) -> list[Delivery]:
        """Give free slots to what came back, before any queue; return what is to be handed out."""
        placed: list[Delivery] = []
        while self._returned and self._allocator.place_returned(self._returned[0]):
            placed.append(self._returned.popleft())
        return placed

    def _note_full(self) -> None:
        if self._allocator.free:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = self._clock.monotonic()

    def _changed(self) -> None:
        self._note_full()
        self._version += 1
        self._change.notify_all()
