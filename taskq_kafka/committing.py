"""Commits what is settled, and what a claim asks for, and acts on the answers: which partitions stop, rest, and go on.

What a commit says is in commitplan.py, what an answer means in commits.py. Nothing here polls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from .commitplan import Batch, plan_commit
from .commits import Answer, CommitRequest, commit, new_stamps
from .errors import ClaimGivenUp
from .membership import Membership
from .offsets import State


def _at_once() -> bool:
    """Answer True: a commit that is not repeated, because the next one says the same."""
    return True


class Committing:
    """Of one consumer; its owner calls it."""

    def __init__(self, membership: Membership) -> None:
        """Prepare.

        Args:
            membership: Whose partitions are committed.
        """
        self._membership = membership
        self._stamps = new_stamps()

    def plan(self, batches: Mapping[int, Batch]) -> dict[int, State]:
        """Return what to commit for each partition of a claim, and for those that have settled records besides.

        Takes no more from partitions that are full by it, and again from those that have room.
        """
        membership = self._membership
        plan = plan_commit(
            membership.assignment, batches, stamp=next(self._stamps), now=time.monotonic()
        )
        for owned, offset in plan.full:
            membership.block(owned, offset)
        for owned in plan.relieved:
            membership.unblock(owned)
        return plan.states

    def commit(
        self, states: dict[int, State], give_up: Callable[[], bool], tags: Iterable[int] = ()
    ) -> set[int]:
        """Commit states; return the partitions for which the broker said yes. Blocks until it has answered.

        Raises:
            ClaimGivenUp: `give_up()` was true while there was no answer.
        """
        membership = self._membership
        request = CommitRequest(
            membership.commit, membership.topic, states, give_up, membership.stored, tags
        )
        answer = commit(request) if states else Answer()
        # What is refused stays to be committed: the next poll says that it is void, or it was refused in a rebalance that leaves
        # us the partition.
        for partition in answer.accepted:
            owned = membership.assignment.get(partition)
            if owned is not None:
                owned.dirty = False
                if owned.trouble:
                    membership.recover(owned)
        for partition, why in answer.failed.items():
            owned = membership.assignment.get(partition)
            if owned is not None:
                membership.block_for_a_while(owned, why)
        return answer.accepted

    def commit_settled(self) -> bool:
        """Commit what was settled since the last commit; does nothing if nothing was. Return False if there was no answer.

        What gets no answer, or is refused, stays for the next time, unless a poll voids it. Also tries again what had failed, when
        it is time to.
        """
        if any(
            owned.dirty or owned.blocked or owned.trouble for owned in self._membership.assignment
        ):
            self._try_again()
            try:
                self.commit(self.plan({}), _at_once)
            except ClaimGivenUp:
                return False
        return True

    def clear_started(self, partitions: Iterable[int]) -> None:
        """Note that what is still at work of partitions is nobody's death: they are given up in order."""
        for partition in partitions:
            owned = self._membership.assignment.get(partition)
            if owned is not None:
                owned.dirty |= owned.offsets.clear_started()

    def _try_again(self) -> None:
        """Fetch again from partitions whose commits had failed for a claim: the next one shows whether they are taken now.

        Also from those that are full and whose lowest unfinished record nobody has: it has to be done.
        """
        now = time.monotonic()
        for owned in self._membership.assignment:
            if owned.trouble and owned.blocked and not owned.dirty:
                goes_on = not owned.is_resting(now)
            else:
                goes_on = owned.is_full and owned.offsets.is_lowest_waiting
            if goes_on:
                self._membership.unblock(owned)
