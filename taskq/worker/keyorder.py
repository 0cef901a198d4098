"""Which tasks with a key may start: one of a key at a time, in the order of their records. Nothing here calls broker or pool.

A key is busy from the claim of a task until its run has ended for good: between two runs of one task, too, which is *held* then. It
is *awaited* when a record of it was given back, and will come again before the others. An intake has one order, which outlives its
channels. Its thread splits and begins; any thread reports ends.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from taskq.worker.delivery import Delivery

MOST_HELD = 200
"""Tasks held for their next runs, beyond which no task with a key starts: so many at most does a killed worker lose besides."""


@dataclass(frozen=True, slots=True)
class Held:
    """A task that waits in its place for its next run."""

    delivery: Delivery
    due: float
    """Monotonic seconds."""

    due_ms: int
    """Milliseconds since 1970."""


class KeyOrder:
    """Of one intake. Its thread decides what starts, any thread reports what has ended."""

    def __init__(self) -> None:
        """Begin with all keys free."""
        self._change = threading.Condition()
        self._busy: dict[bytes, Delivery] = {}
        self._held: dict[bytes, Held] = {}
        self._awaited: dict[bytes, Delivery] = {}
        self._back: set[bytes] = set()
        """The keys of what is awaited and was given back: only that can come."""

        self._is_closed = False

    # For the intake's thread: what starts

    def split(self, hand: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return those of a hand whose turn it is: of each key that is free the first, and all that have none."""
        if self.is_full:
            return [delivery for delivery in hand if delivery.key is None]
        busy, awaited = self._busy, self._awaited
        ready: list[Delivery] = []
        seen: set[bytes] = set()
        for delivery in hand:
            key = delivery.key
            if key is not None:
                if key in seen:
                    continue
                # Also where it is busy: its task may end while this looks on, and a later one must not pass those seen before.
                seen.add(key)
                if key in busy or key in awaited:
                    continue
            ready.append(delivery)
        return ready

    def begin(self, deliveries: Iterable[Delivery]) -> None:
        """Enter what is claimed and about to be handed out."""
        with self._change:
            for delivery in deliveries:
                if delivery.key is not None:
                    delivery.order = self
                    self._busy[delivery.key] = delivery

    def due(self, now: float) -> list[Delivery]:
        """Return what may run again now, the longest due first; it stays held until `resume`."""
        if not self._held:
            return []
        with self._change:
            found = [held for held in self._held.values() if held.due <= now]
        found.sort(key=lambda held: held.due)
        return [held.delivery for held in found]

    def resume(self, deliveries: Iterable[Delivery]) -> None:
        """Note that held ones are about to be handed out again."""
        with self._change:
            for delivery in deliveries:
                self._drop_held(delivery)

    def wait(self, now: float) -> float:
        """Return the seconds until a held one is due; infinite where none is."""
        if not self._held:
            return math.inf
        with self._change:
            return max(0.0, min((held.due for held in self._held.values()), default=math.inf) - now)

    # For the intake's thread: what came back or went

    def await_again(self, deliveries: Iterable[Delivery]) -> None:
        """Let none of their keys start before these have come again: they were given back. Any thread may call it."""
        with self._change:
            for delivery in deliveries:
                if delivery.key is not None:
                    self._awaited[delivery.key] = delivery
                    self._back.discard(delivery.key)
                    self._drop_busy(delivery)

    def given_back(self, tags: Collection[int]) -> None:
        """Note that what is awaited of these delivery tags was given back: what is fetched from now on comes in order."""
        with self._change:
            self._back |= {
                key for key, each in self._awaited.items() if each.record.delivery_tag in tags
            }

    def came(self, partition: int, offset: int) -> bool:
        """Note that a record was fetched; return whether it was awaited.

        A partition is read in order: what was given back, and is awaited below it, does not exist any more.
        """
        if not self._awaited:
            return False
        with self._change:
            here = [
                (key, each.record.offset)
                for key, each in self._awaited.items()
                if key in self._back
                and each.record.partition == partition
                and each.record.offset <= offset
            ]
            for key, _ in here:
                self._drop_awaited(key)
            return any(place == offset for _, place in here)

    def forget_awaited(self, partitions: Collection[int] | None = None) -> None:
        """Await nothing more of some partitions (None: of any): they are read anew, in order."""
        with self._change:
            for key, each in list(self._awaited.items()):
                if partitions is None or each.record.partition in partitions:
                    self._drop_awaited(key)

    def forget(self, delivery: Delivery) -> None:
        """Await a delivery no more: it will not be fetched again here. Any thread may call it."""
        with self._change:
            if delivery.key is not None and self._awaited.get(delivery.key) is delivery:
                self._drop_awaited(delivery.key)
            self._drop_busy(delivery)

    def take_held(self, wanted: Callable[[Held], bool]) -> list[Held]:
        """Give up held ones: their keys are free, and what becomes of them is the caller's business."""
        with self._change:
            found = [held for held in self._held.values() if wanted(held)]
            for held in found:
                self._drop_held(held.delivery)
                self._drop_busy(held.delivery)
            return found

    def close(self) -> list[Held]:
        """Hold nothing from now on; return what was held."""
        with self._change:
            self._is_closed = True
        return self.take_held(lambda held: True)

    # Questions

    @property
    def is_empty(self) -> bool:
        """Whether nothing with a key is at work or held."""
        return not self._busy

    @property
    def is_full(self) -> bool:
        """Whether so much is held that no task with a key may start but those."""
        return len(self._held) >= MOST_HELD

    def is_held(self, delivery: Delivery) -> bool:
        """Return whether a delivery waits for its next run."""
        held = self._held.get(delivery.key) if delivery.key is not None else None
        return held is not None and held.delivery is delivery

    def busy_of(self, partitions: Collection[int]) -> list[Delivery]:
        """Return what is at work or held of some partitions."""
        with self._change:
            return [each for each in self._busy.values() if each.record.partition in partitions]

    def is_at_work(self, partitions: Collection[int], *, until: float = math.inf) -> bool:
        """Return whether something of some partitions runs, or is held and due by `until`."""
        with self._change:
            for key, delivery in self._busy.items():
                if delivery.record.partition in partitions:
                    held = self._held.get(key)
                    if held is None or held.due <= until:
                        return True
            return False

    def wait_for_news(self, timeout: float) -> None:
        """Wait until an end is reported, at most `timeout` seconds."""
        with self._change:
            self._change.wait(timeout)

    # For any thread

    def ended(self, delivery: Delivery) -> None:
        """Report that a delivery has ended; does nothing if it is held, or its key is another's meanwhile."""
        with self._change:
            self._drop_busy(delivery)
            self._change.notify_all()

    def hold(self, ended: Delivery, again: Delivery, *, due: float, due_ms: int) -> bool:
        """Hold the key of a delivery for its next run.

        Args:
            ended: What ran.
            again: What is to run next.
            due: When, monotonic seconds.
            due_ms: The same in milliseconds since 1970.

        Returns:
            False: nobody is left here that would run it.
        """
        key = again.key
        with self._change:
            if self._is_closed or key is None or self._busy.get(key) is not ended:
                return False
            again.order = self
            self._busy[key] = again
            self._held[key] = Held(again, due, due_ms)
            self._change.notify_all()
            return True

    # Within the lock

    def _drop_awaited(self, key: bytes) -> None:
        del self._awaited[key]
        self._back.discard(key)

    def _drop_busy(self, delivery: Delivery) -> None:
        key = delivery.key
        if key is not None and self._busy.get(key) is delivery:
            del self._busy[key]

    def _drop_held(self, delivery: Delivery) -> None:
        if self.is_held(delivery):
            assert delivery.key is not None
            del self._held[delivery.key]
