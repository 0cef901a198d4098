"""From ready in hand to at work: a slot for each, the claim of all of them, and what is granted handed out. Nothing runs before."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from taskq.protocols import IntakeChannel
from taskq.worker.claims import Claims
from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.fetcher import Fetcher
from taskq.worker.hand import Hand
from taskq.worker.keyorder import KeyOrder
from taskq.worker.line import Line
from taskq.worker.settling import Settling
from taskq.worker.suspects import Suspects

logger = logging.getLogger(__name__)


class Starter:
    """Of one channel; its intake's thread calls it."""

    def __init__(
        self,
        queue: str,
        channel: IntakeChannel,
        claims: Claims,
        *,
        hand: Hand,
        line: Line,
        settling: Settling,
        suspects: Suspects,
        order: KeyOrder,
        fetcher: Fetcher,
        dispatcher: Dispatcher,
    ) -> None:
        """Prepare.

        Args:
            queue: The intake's.
            channel: What is claimed on.
            claims: The intake's.
            hand: What is claimed is taken from it.
            line: Reserves slots.
            settling: Settles ends together with a claim, and is told of what settles late.
            suspects: Told what starts.
            order: Told what of a key starts.
            fetcher: Told that a claim was refused, so that more in hand may be another's.
            dispatcher: Takes what is granted.
        """
        self._queue = queue
        self._channel = channel
        self._claims = claims
        self._hand = hand
        self._line = line
        self._settling = settling
        self._suspects = suspects
        self._order = order
        self._fetcher = fetcher
        self._dispatcher = dispatcher
        self.last_task: str | None = None
        """The task that was claimed last: what comes next is likely to be of it."""

    def start(self, ready: Sequence[Delivery]) -> bool:
        """Claim as much of what is ready in hand as has slots, and hand it out; return whether there was a slot for anything.

        If the process dies in here, what the broker has is lost, and what settles late runs again elsewhere.
        """
        batch = self._line.reserve(ready)
        if not batch:
            return False
        self._hand.take(batch)
        self.last_task = batch[-1].task
        try:
            self._settling.settle_acked()
            granted, refused = self._claims.claim(self._channel, batch)
        except BaseException:
            self._dispatcher.cancel(batch)
            raise
        if refused:
            self._take_back(refused)
        self._hand_out(granted)
        self._claims.end()
        return True

    def _hand_out(self, granted: Sequence[Delivery]) -> None:
        late = [delivery for delivery in granted if delivery.late]
        if late:
            self._settling.late.begin(late)
            self._suspects.begin(late)
        if self._hand.has_keys:
            self._order.begin(granted)
        self._dispatcher.hand_out(granted)

    def _take_back(self, refused: Sequence[Delivery]) -> None:
        self._fetcher.doubt()
        self._dispatcher.cancel(refused)
        self._order.await_again(refused)
        self._order.given_back({each.record.delivery_tag for each in refused})
        logger.info(
            "the broker refused the claim of %d records of queue %s; another worker has them, or they come again",
            len(refused),
            self._queue,
            extra={"event": "claim.refused", "queue": self._queue},
        )
