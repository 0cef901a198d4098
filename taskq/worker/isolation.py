"""How long a suspect is alone at work, where one process runs several tasks at a time. Pure.

After a worker's death each task that was at work there may be what it died of. One after the other runs alone, so that the guilty
one is found; but what is innocent and long must not stop all others for as long as it takes. So both the wait for an empty process
and the time alone in it are bounded, and longer each time: two seconds, then eight, then thirty-two. Whoever kills later than that
is found the next time, or the one after.

The likeliest come first: who was never alone for its time before those that lived through it, and who came last before those that
had been at work for long. So a killer is found beside tasks that never end; not found is only one that kills later than such a
task has been waited for.
"""

from __future__ import annotations

from collections.abc import Iterable

from taskq.worker.delivery import Delivery

FIRST_SECONDS = 2.0
GROWTH = 4
MOST_STEPS = 6
"""Steps of growth: more than two hours."""


def seconds_alone(deliveries: int) -> float:
    """Return for how long a suspect is alone at most that was delivered so often before."""
    steps = min(max(0, deliveries - 1), MOST_STEPS)
    return FIRST_SECONDS * float(GROWTH**steps)


def in_order_of_suspicion(delivery: Delivery) -> tuple[bool, bool, int]:
    """Return a key to sort deliveries by: suspects first, the likeliest of them at the front; the others keep their order."""
    if not delivery.is_suspect:
        return True, False, 0
    return False, delivery.record.lived, -delivery.record.offset


class Isolation:
    """One intake's suspects. Its thread owns it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._awaited: tuple[Delivery, float] | None = None
        self._alone: dict[Delivery, float] = {}

    def is_awaited_long(self, delivery: Delivery, now: float) -> bool:
        """Return whether a suspect that finds no empty process has waited long enough; the first call begins the wait."""
        if self._awaited is None or self._awaited[0] is not delivery:
            self._awaited = delivery, now + seconds_alone(delivery.record.deliveries)
        return now >= self._awaited[1]

    def begin(self, deliveries: Iterable[Delivery], now: float) -> None:
        """Take note of what was started; of that what is alone."""
        for delivery in deliveries:
            if delivery.is_suspect:
                self._alone[delivery] = now + seconds_alone(delivery.record.deliveries)

    def ended(self, now: float) -> list[Delivery]:
        """Return those that are alone no longer: they have ended, or been alone long enough."""
        over = [delivery for delivery, until in self._alone.items() if now >= until]
        for delivery in over:
            del self._alone[delivery]
        return over
