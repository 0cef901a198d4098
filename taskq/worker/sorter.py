"""Sorts what was fetched: what can be run comes into the hand; the rest is written off, or moved to the timers.

So is, later, what in hand expires or is revoked. What a record deserves is decided in screening.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from taskq.clock import Clock
from taskq.protocols import IntakeChannel, Record
from taskq.timing.revocation import Revocations
from taskq.worker.delivery import Delivery, task_fields
from taskq.worker.fetcher import Fetcher
from taskq.worker.hand import Hand
from taskq.worker.keyed import KeyedWork
from taskq.worker.keyorder import KeyOrder
from taskq.worker.line import Line
from taskq.worker.moves import Moves
from taskq.worker.refusals import Refusals
from taskq.worker.revoked import say_not_run
from taskq.worker.screening import Early, Expired, Refused, Revoked, Screen
from taskq.worker.suspects import say_suspect

logger = logging.getLogger(__name__)


class Sorter:
    """Of one channel; its intake's thread calls it."""

    def __init__(
        self,
        channel: IntakeChannel,
        fetcher: Fetcher,
        hand: Hand,
        line: Line,
        *,
        screen: Screen,
        order: KeyOrder,
        keyed: KeyedWork,
        refusals: Refusals,
        moves: Moves,
        revoked: Revocations,
        give_up: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """Prepare.

        Args:
            channel: Where what is written off is settled.
            fetcher: Keeps the channel in its group while the broker refuses a write.
            hand: Gets what can be run.
            line: Left before anything that takes long.
            screen: Judges records.
            order: Told of records with a key.
            keyed: Told that there are such.
            refusals: Writes off what cannot be run.
            moves: Moves what is early.
            revoked: What is not to be run.
            give_up: Whether to wait no longer for the broker's answer.
            clock: For what has expired.
        """
        self._channel = channel
        self._fetcher = fetcher
        self._hand = hand
        self._line = line
        self._screen = screen
        self._order = order
        self._keyed = keyed
        self._refusals = refusals
        self._moves = moves
        self._revoked = revoked
        self._revocations_seen = 0
        self._give_up = give_up
        self._clock = clock

    def sort(self, records: Sequence[Record]) -> None:
        """Put what can be run in hand; write off the rest. Blocks while the broker does not answer."""
        if not records:
            return
        now = self._clock.now()
        judge, put, came = self._screen.judge, self._hand.put, self._order.came
        refused: list[Refused] = []
        early: list[Early] = []
        are_suspects = False
        for record in records:
            verdict = judge(record, now)
            is_again = record.key is not None and came(record.partition, record.offset)
            if isinstance(verdict, Delivery):
                put(verdict, is_again=is_again)
                if verdict.key is not None:
                    self._keyed.see()
                if verdict.is_suspect:
                    say_suspect(verdict)
                    are_suspects = True
            elif isinstance(verdict, Refused):
                refused.append(verdict)
            elif isinstance(verdict, Early):
                early.append(verdict)
            else:
                self._drop(verdict)
        if are_suspects:
            self._hand.sort_suspects()
        if early or refused:
            self._put_aside(early, refused)

    def write_off_again(self) -> None:
        """Write off what could not be written, when it is time to; its partitions stand still meanwhile."""
        if self._refusals.is_due:
            self._line.leave()
            self._refusals.try_again(self._channel)

    def look_through_hand(self) -> None:
        """Write off what has expired or was revoked while it waited in hand."""
        if self._hand.may_expire:
            for delivery in self._hand.take_expired(self._clock.now()):
                self._drop_expired(delivery)
            self._leave_line_if_empty()
        if self._revocations_seen != self._revoked.version:
            self._revocations_seen = self._revoked.version
            for delivery in self._hand.take_revoked(self._revoked):
                self._drop_revoked(delivery)
            self._leave_line_if_empty()

    def _leave_line_if_empty(self) -> None:
        if not self._hand:
            self._line.step_back()

    def _put_aside(self, early: list[Early], refused: list[Refused]) -> None:
        """Move what is early to the timers, and what cannot be run to the dead letters."""
        # Either may take as long as a broker refuses it: no slot is kept for this queue meanwhile, nor from lower steps.
        self._line.leave()
        if early:
            # First: only what came with the last fetch can be moved for certain.
            keep_membership = self._fetcher.keep_membership
            self._moves.move(self._channel, early, keep_membership, self._give_up)
        if refused:
            self._refusals.write_off(self._channel, refused)

    def _drop(self, verdict: Expired | Revoked) -> None:
        if isinstance(verdict, Revoked):
            self._drop_revoked(verdict)
        else:
            self._drop_expired(verdict)

    def _drop_revoked(self, revoked: Revoked | Delivery) -> None:
        self._channel.settle([revoked.record.delivery_tag])
        say_not_run(revoked.envelope, revoked.record)

    def _drop_expired(self, expired: Expired | Delivery) -> None:
        self._channel.settle([expired.record.delivery_tag])
        envelope = expired.envelope
        logger.info(
            "task %s[%s] expired before it could run; it is not run",
            envelope.task,
            envelope.id,
            extra={
                "event": "task.expired",
                **task_fields(envelope.task, envelope.id, expired.record),
            },
        )
