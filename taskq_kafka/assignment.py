"""Which partitions are ours, since when, and how far each has got.

Pure: the callbacks that change it are in membership.py. An epoch is a local number, new for each assignment of a partition:
what was fetched in an older one is void, also where the partition came straight back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .backoff import Backoff
from .offsets import PartitionOffsets, State

FIRST_REST = 1.0
"""Seconds before a commit that failed is tried again."""

LONGEST_REST = 60.0
"""Seconds that no such wait exceeds: so long may it take until a partition goes on after the operator has acted."""


@dataclass(slots=True)
class Trouble:
    """The commits of a partition fail, for a reason that may pass; when to try again."""

    backoff: Backoff = field(default_factory=lambda: Backoff(FIRST_REST, LONGEST_REST))
    retry_at: float = 0.0

    def fail(self, now: float) -> None:
        """Take note of one more failure."""
        self.retry_at = now + self.backoff.next()


@dataclass(slots=True)
class Owned:
    """One partition of the current assignment."""

    partition: int
    epoch: int
    offsets: PartitionOffsets
    position: int
    """The offset that a seek has to go to so that nothing is skipped: one above the last record a call returned."""

    rebalance: int = 0
    """Number of the rebalance that brought it, as the consumer counts them."""

    unproven: bool = False
    """No offset was committed when it was assigned: new, or expired. Decided by the first record."""

    dirty: bool = False
    """Something is settled that the group does not know yet."""

    blocked: bool = False
    """Its state does not fit a commit, or its commits fail: nothing more is claimed from it meanwhile."""

    is_full: bool = False
    """Blocked because its state does not fit."""

    passed_over: set[str] = field(default_factory=set)
    """Why its owner wants no more of it for a while. Other reasons than a block, and neither ends the other."""

    trouble: Trouble | None = None
    """Of a partition whose last commit failed; stays until one is taken."""

    @property
    def is_fetched(self) -> bool:
        """Whether it is fetched from while the consumer is not paused."""
        return not (self.blocked or self.passed_over)

    def is_resting(self, now: float) -> bool:
        """Whether its commits failed and it is not yet time to try again."""
        return self.trouble is not None and now < self.trouble.retry_at


class Assignment:
    """The partitions of one consumer; changed by one thread only."""

    def __init__(self, next_epoch: int = 1) -> None:
        """Begin with nothing; epochs count on from `next_epoch`, so that those of a former consumer stay void."""
        self._owned: dict[int, Owned] = {}
        self.next_epoch = next_epoch

    def __iter__(self) -> Iterator[Owned]:
        return iter(self._owned.values())

    def __len__(self) -> int:
        return len(self._owned)

    def __contains__(self, partition: object) -> bool:
        return partition in self._owned

    @property
    def partitions(self) -> tuple[int, ...]:
        """The owned partitions in rising order."""
        return tuple(sorted(self._owned))

    def get(self, partition: int) -> Owned | None:
        """Return an owned partition, or None if it is not ours."""
        return self._owned.get(partition)

    def owned(self, partition: int, epoch: int) -> Owned | None:
        """Return an owned partition, or None if it is not ours as it was in an epoch."""
        owned = self._owned.get(partition)
        return owned if owned is not None and owned.epoch == epoch else None

    def assign(self, partition: int, start: State, *, unproven: bool = False) -> Owned:
        """Enter a partition that was assigned, with what the group has stored for it."""
        owned = Owned(
            partition,
            self.next_epoch,
            PartitionOffsets(start),
            position=start.offset,
            unproven=unproven,
        )
        self.next_epoch += 1
        self._owned[partition] = owned
        return owned

    def remove(self, partitions: Iterable[int]) -> list[Owned]:
        """Take out partitions that were revoked or lost; all that was fetched of them is void."""
        removed = (self._owned.pop(partition, None) for partition in partitions)
        return [owned for owned in removed if owned is not None]

    def holds(self, partition: int, epoch: int) -> bool:
        """Return whether what was fetched from a partition in an epoch is still ours."""
        owned = self._owned.get(partition)
        return owned is not None and owned.epoch == epoch
