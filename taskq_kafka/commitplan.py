"""What a consumer's next commit says of each partition, and what of a claim has to be left out, because it does not fit.

Pure: the plan also tells which partitions are full now, or not any more; acting on it is in committing.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .assignment import Assignment, Owned
from .offsets import METADATA_LIMIT, State
from .records import Record

GO_ON_BELOW = METADATA_LIMIT * 3 // 4
"""Characters of a partition's state below which a partition whose state did not fit goes on: not to stop again at once."""


@dataclass(slots=True)
class Batch:
    """What a claim is to do to one partition."""

    records: list[Record] = field(default_factory=list)
    settling: set[int] = field(default_factory=set)
    starting: set[int] = field(default_factory=set)
    alone: set[int] = field(default_factory=set)
    left_out: list[Record] = field(default_factory=list)
    """Records for which the commit has no room."""

    def keep_only(self, offset: int | None) -> bool:
        """Leave out all but one record; return whether that is fewer than before, and it is there."""
        kept = [record for record in self.records if record.offset == offset]
        is_news = bool(kept) and len(self.records) > 1
        if is_news or offset is None:
            self.left_out += [record for record in self.records if record.offset != offset]
            self.records = kept
            places = {offset}
            self.settling &= places
            self.starting &= places
            self.alone &= places
        return is_news


def batches_of(
    records: Iterable[Record],
    assignment: Assignment,
    *,
    starting: Collection[int],
    alone: Collection[int],
) -> tuple[dict[int, Batch], list[Record]]:
    """Return a claim by partition, and the records of it that are not ours any more.

    Args:
        records: What is to be claimed.
        assignment: Says what is ours.
        starting: Delivery tags of those that are settled after their run.
        alone: Delivery tags of those of these beside which nothing is at work.
    """
    batches: dict[int, Batch] = {}
    gone: list[Record] = []
    for record in records:
        if not assignment.holds(record.partition, record.epoch):
            gone.append(record)
            continue
        batch = batches.get(record.partition)
        if batch is None:
            batch = batches[record.partition] = Batch()
        batch.records.append(record)
        if record.delivery_tag not in starting:
            batch.settling.add(record.offset)
            continue
        batch.starting.add(record.offset)
        if record.delivery_tag in alone:
            batch.alone.add(record.offset)
    return batches, gone


@dataclass(slots=True)
class Plan:
    """What to commit, and what to do first."""

    states: dict[int, State] = field(default_factory=dict)
    """By partition."""

    full: list[tuple[Owned, int]] = field(default_factory=list)
    """Partitions whose state fits no commit, and were not blocked before; with the offset of their lowest unfinished record."""

    relieved: list[Owned] = field(default_factory=list)
    """Partitions that were full and have room again; may have become so within this plan, by what it leaves out."""


def plan_commit(
    assignment: Iterable[Owned], batches: Mapping[int, Batch], *, stamp: str, now: float
) -> Plan:
    """Return what to commit for each partition of a claim, and for those that have settled records besides.

    Args:
        assignment: The owned partitions.
        batches: The claim, by partition; what does not fit is left out of them.
        stamp: Names the commit.
        now: Monotonic seconds.
    """
    plan = Plan()
    for owned in assignment:
        batch = batches.get(owned.partition)
        if (batch is None and not owned.dirty) or owned.is_resting(now):
            continue
        state = _fitting(plan, owned, batch or Batch(), stamp, is_full=owned.is_full)
        if state is not None:
            plan.states[owned.partition] = state
    return plan


def _fitting(plan: Plan, owned: Owned, batch: Batch, stamp: str, *, is_full: bool) -> State | None:
    """Return the state after a batch; without what does not fit a commit, which the batch leaves out then; None for nothing."""
    offsets = owned.offsets
    state = offsets.state(batch.settling, starting=batch.starting, alone=batch.alone, stamp=stamp)
    size = len(state.metadata())
    if size <= METADATA_LIMIT:
        if is_full and size < GO_ON_BELOW and owned.trouble is None:
            plan.relieved.append(owned)
        return state
    if not batch.records:
        return None  # committed when there is less of it
    if not owned.blocked and not is_full:
        plan.full.append((owned, state.offset))
        is_full = True
    # The lowest unfinished one of all has to be done, so that there is room again.
    if not batch.keep_only(offsets.lowest):
        batch.keep_only(None)
    if not batch.records and not owned.dirty:
        return None
    return _fitting(plan, owned, batch, stamp, is_full=is_full)
