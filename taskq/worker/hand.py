"""The records that an intake has in hand: fetched, good to run, not claimed. In the order in which they are to start. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from taskq.worker.delivery import Delivery
from taskq.worker.isolation import in_order_of_suspicion

MOST_ABOVE_RATE = 200
MOST_KEYED = 1000
MOST_BYTES = 8 * 1024 * 1024
"""What may wait in hand for its task's rate; for keys more, because records come by partition, and a backlog of one has few keys.
Beyond that the queue waits with it. It is taken from again when half of it is gone: stopping to fetch throws up to a megabyte of
prefetched records away."""


@dataclass(slots=True)
class Load:
    """How many tasks, and how large they are together."""

    count: int = 0
    size: int = 0

    def share(self) -> float:
        """Return what part of a full hand of tasks with keys it is."""
        return max(self.count / MOST_KEYED, self.size / MOST_BYTES)


def loads_of(deliveries: Iterable[Delivery]) -> dict[int, Load]:
    """Return the load of each partition."""
    loads: dict[int, Load] = {}
    for each in deliveries:
        load = loads.get(each.record.partition)
        if load is None:
            load = loads[each.record.partition] = Load()
        load.count += 1
        load.size += each.size
    return loads


class Hand:
    """Of one intake. Its thread owns it; others may count it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._deliveries: list[Delivery] = []
        self.may_expire = False
        self.has_keys = False
        """Whether a task with a key has come into it since it was last found empty."""

        self.is_full = False
        """Whether it was full at the last look."""

        self.set_aside: frozenset[int] = frozenset()
        """Partitions that are not fetched from, whose tasks do not count (crowds.py): there is room for others."""

    def __len__(self) -> int:
        return len(self._deliveries)

    @property
    def deliveries(self) -> Sequence[Delivery]:
        """What is in hand. Not to be changed, and not to be kept: it is another list after a change, or the same one."""
        return self._deliveries

    @property
    def most(self) -> int:
        """How many may wait in it."""
        return MOST_KEYED if self.has_keys else MOST_ABOVE_RATE

    @property
    def room(self) -> int:
        """How many more may come into it."""
        return self.most - len(self.counted())

    def look_if_full(self) -> bool:
        """Return whether so much waits that nothing more is to be fetched, until half of it has gone."""
        share = 0.5 if self.is_full else 1.0
        counted = self.counted()
        self.is_full = (
            len(counted) >= share * self.most
            or sum(each.size for each in counted) >= share * MOST_BYTES
        )
        return self.is_full

    def counted(self) -> Sequence[Delivery]:
        """Return what is in hand of the partitions that are fetched from; not to be changed or kept."""
        if not self.set_aside:
            return self._deliveries
        return [each for each in self._deliveries if each.record.partition not in self.set_aside]

    # What comes

    def put(self, delivery: Delivery, *, is_again: bool) -> None:
        """Take a delivery in hand: last, or if it comes again before those of its partition that stand behind it."""
        if delivery.envelope.expires is not None:
            self.may_expire = True
        if delivery.key is not None:
            self.has_keys = True
        if is_again:
            self._deliveries.insert(_place_of(delivery, self._deliveries), delivery)
        else:
            self._deliveries.append(delivery)

    def sort_suspects(self) -> None:
        """Have suspects start first; the others keep their order."""
        self._deliveries.sort(key=in_order_of_suspicion)

    # What goes

    def take(self, batch: Sequence[Delivery]) -> None:
        """Give out what is about to be claimed."""
        if self._deliveries[: len(batch)] == batch:
            del self._deliveries[: len(batch)]
        else:  # others wait in hand for their rate, or their key
            taken = set(batch)
            self._deliveries = [each for each in self._deliveries if each not in taken]

    def keep(self, tags: Collection[int]) -> None:
        """Forget what has none of these delivery tags."""
        self._deliveries = [each for each in self._deliveries if each.record.delivery_tag in tags]

    def take_expired(self, now: datetime) -> Sequence[Delivery]:
        """Take out and return what has expired while it waited."""
        if not self.may_expire:
            return ()
        expired = self._take(lambda each: each.envelope.is_expired(now))
        self.may_expire = any(each.envelope.expires is not None for each in self._deliveries)
        return expired

    def take_revoked(self, revoked: Container[str]) -> Sequence[Delivery]:
        """Take out and return what was revoked while it waited."""
        return self._take(lambda each: each.envelope.id in revoked)

    def take_last(self, partition: int, *, but: Load) -> Sequence[Delivery]:
        """Take out and return what is too much of a partition: the last in its order, and never the first."""
        own = [each for each in self._deliveries if each.record.partition == partition]
        own.sort(key=lambda each: each.record.offset)
        count = size = 0
        for each in own[: but.count]:
            size += each.size
            if count and size > but.size:
                break
            count += 1
        last = set(own[count:])
        return self._take(last.__contains__) if last else ()

    def drop(self) -> None:
        """Forget all of it: it was not claimed, so it comes again, here or at another worker."""
        self._deliveries = []

    def found_empty(self) -> None:
        """Note that nothing waits in it any more."""
        self.is_full = self.has_keys = False

    def _take(self, is_wanted: Callable[[Delivery], bool]) -> list[Delivery]:
        taken: list[Delivery] = []
        kept: list[Delivery] = []
        for delivery in self._deliveries:
            (taken if is_wanted(delivery) else kept).append(delivery)
        self._deliveries = kept
        return taken


def _place_of(delivery: Delivery, hand: Sequence[Delivery]) -> int:
    """Return where a delivery belongs in a hand: before all of its partition that stand behind it."""
    partition, offset = delivery.record.partition, delivery.record.offset
    behind = (
        place
        for place, other in enumerate(hand)
        if other.record.partition == partition and other.record.offset > offset
    )
    return next(behind, len(hand))
