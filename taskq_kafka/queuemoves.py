"""Moves records of one consumer's partitions: which of them can be moved, and what an ending means for its partitions.

How a move is written is in moves.py. The fence of a move is the member as it was before its records were polled, so it is kept for
each poll that brought some; nobody asks for it before it is needed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .commitplan import Batch
from .committing import Committing
from .errors import ClaimGivenUp
from .membership import Membership
from .moves import Ending, LogWrite, Mover, MoveRequest
from .offsets import State
from .options import TransportOptions
from .records import Record

POLLS_KEPT = 64
"""Polls whose records can still be moved; a worker moves what one has brought before the next. Older records come again first."""


class QueueMoves:
    """Of one consumer; its owner calls it."""

    def __init__(
        self, options: TransportOptions, membership: Membership, committing: Committing
    ) -> None:
        """Prepare; nothing is asked for before the first move.

        Args:
            options: The connection's options.
            membership: Whose partitions they are.
            committing: Plans what is committed with a move.
        """
        self._options = options
        self._membership = membership
        self._committing = committing
        self._mover: Mover | None = None
        """Made with the first move: most queues have none."""
        self._polls: deque[tuple[int, Any]] = deque(maxlen=POLLS_KEPT)
        """Once there is a mover: of polls that brought records the first one's tag, and the member as it was before the poll."""

    def member(self) -> Any:
        """Return the member as it is, before a poll; None while nothing was ever moved."""
        return None if self._mover is None else self._membership.consumer.consumer_group_metadata()

    def note_poll(self, first_tag: int, member: Any) -> None:
        """Keep the member as it was before a poll that brought records.

        Args:
            first_tag: The delivery tag of the first of them.
            member: As `member` returned it.
        """
        if member is not None:
            self._polls.append((first_tag, member))

    def move(
        self, records: Sequence[Record], writes: Sequence[LogWrite], give_up: Callable[[], bool]
    ) -> list[Record]:
        """Write something in the place of each record and settle it; return the records that were moved: all that fit, or none.

        The first move is refused: there is no fence for what was polled before.

        Raises:
            ClaimGivenUp: `give_up()` was true while there was no answer. The records' partitions are no longer held.
            TaskqKafkaError: Nothing was moved; the records are still held.
        """
        if self._mover is None:
            self._mover = Mover(self._options)
        first_tag = self._polls[0][0] if self._polls else math.inf
        assignment = self._membership.assignment
        batches: dict[int, Batch] = {}
        for record in records:
            if record.delivery_tag >= first_tag and assignment.holds(
                record.partition, record.epoch
            ):
                batch = batches.setdefault(record.partition, Batch())
                batch.records.append(record)
                batch.settling.add(record.offset)
        plan = self._committing.plan(batches)
        states = {number: plan[number] for number in batches if number in plan}
        # Without what was left out, because it does not fit a commit.
        fitting = {each.delivery_tag for number in states for each in batches[number].records}
        pairs = [
            (record, write)
            for record, write in zip(records, writes, strict=True)
            if record.delivery_tag in fitting
        ]
        return self._moved(self._mover, pairs, states, give_up) if pairs else []

    def _moved(
        self,
        mover: Mover,
        pairs: Sequence[tuple[Record, LogWrite]],
        states: dict[int, State],
        give_up: Callable[[], bool],
    ) -> list[Record]:
        """Move records; return those that were moved: all or none."""
        membership = self._membership
        records = [record for record, _ in pairs]
        oldest = min(record.delivery_tag for record in records)
        request = MoveRequest(
            [write for _, write in pairs],
            membership.topic,
            states,
            next(member for tag, member in reversed(self._polls) if tag <= oldest),
            give_up,
            [record.delivery_tag for record in records],
        )
        try:
            ending = mover.move(request)
        except ClaimGivenUp:
            membership.assignment.remove(states)
            raise
        if ending is Ending.REFUSED:
            return []
        if ending is Ending.UNKNOWN:
            # Void from here on, and no commit of ours may come after the transaction's: see moves.py.
            membership.assignment.remove(states)
            membership.replace_because = "how a move ended is not known"
            return []
        self._settle(records)
        return records

    def _settle(self, records: Sequence[Record]) -> None:
        for record in records:
            owned = self._membership.assignment.owned(record.partition, record.epoch)
            if owned is not None:
                owned.offsets.settle((record.offset,))
                # The next commit says the same once more: librdkafka's mock cluster forgets the offsets of transactions.
                owned.dirty = True
                if owned.trouble:
                    self._membership.recover(owned)
