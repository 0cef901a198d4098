"""Says when claims have waited long for the broker's answer: their intakes' threads are inside the client then, and cannot."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds without an answer until it is said: a coordinator that moves takes one or two, an outage longer."""


@dataclass(frozen=True, slots=True)
class OpenClaim:
    """A claim that is under way."""

    queue: str
    count: int
    """Tasks that it is for."""

    since: float
    """Monotonic seconds."""


class ClaimWatch:
    """Says each long claim once, and its end. One thread owns it."""

    def __init__(self) -> None:
        self._said: dict[str, OpenClaim] = {}

    def look(self, claims: Iterable[OpenClaim], now: float) -> None:
        """Look at all claims that are under way.

        Args:
            claims: At most one of each queue.
            now: Monotonic seconds.
        """
        open_now = {claim.queue: claim for claim in claims}
        for queue, claim in open_now.items():
            if now - claim.since >= PATIENCE and queue not in self._said:
                self._said[queue] = claim
                _say_unanswered(claim, now)
        for queue, claim in list(self._said.items()):
            if open_now.get(queue) != claim:
                del self._said[queue]
                _say_answered(claim, now)


def _say_unanswered(claim: OpenClaim, now: float) -> None:
    logger.warning(
        "the broker has not answered a claim of queue %s for %.0f s; its tasks (%d) wait, and no more are taken until it does",
        claim.queue,
        now - claim.since,
        claim.count,
        extra={"event": "claim.unanswered", "queue": claim.queue},
    )


def _say_answered(claim: OpenClaim, now: float) -> None:
    logger.info(
        "the claim of queue %s has its answer after %.0f s",
        claim.queue,
        now - claim.since,
        extra={"event": "claim.answered", "queue": claim.queue},
    )
