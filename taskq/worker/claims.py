"""One intake's claims: asked of the broker, shown while they are under way, and named as lost when they get no answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from taskq.clock import Clock
from taskq.protocols import IntakeChannel
from taskq.worker.claimwatch import OpenClaim
from taskq.worker.delivery import Delivery
from taskq.worker.progress import Progress

logger = logging.getLogger(__name__)


class Claims:
    """Of one intake, which outlives its channels. Its thread claims, any thread looks."""

    def __init__(
        self, queue: str, *, give_up: Callable[[], bool], progress: Progress, clock: Clock
    ) -> None:
        """Begin with none.

        Args:
            queue: The intake's.
            give_up: Whether to wait no longer for the broker's answer.
            progress: Told of the answer.
            clock: For the age of a claim.
        """
        self._queue = queue
        self._give_up = give_up
        self._progress = progress
        self._clock = clock
        self._batch: list[Delivery] = []
        self._since = 0.0
        self.granted = 0
        """How many deliveries the broker has said yes to."""

        self.lost = 0
        """How many deliveries were lost to claims that got no definite answer; each was named in the log."""

    # For the intake's thread

    def claim(
        self, channel: IntakeChannel, batch: list[Delivery]
    ) -> tuple[list[Delivery], list[Delivery]]:
        """Claim deliveries, waiting for the broker's answer; it is under way until `end`.

        Returns:
            What is granted and may start, and what is refused.
        """
        self._since = self._clock.monotonic()
        self._batch = batch
        late = [delivery for delivery in batch if delivery.late]
        try:
            granted, refused = channel.claim(
                [delivery.record.delivery_tag for delivery in batch],
                start={delivery.record.delivery_tag for delivery in late},
                alone={each.record.delivery_tag for each in late if each.is_suspect},
                give_up=self._give_up,
            )
        except BaseException:
            self._progress.move()
            self._name_lost([delivery for delivery in batch if not delivery.late])
            self._batch = []
            raise
        self._progress.move()
        self.granted += len(granted)
        if not refused:
            return batch, []
        tags = set(granted)
        return (
            [each for each in batch if each.record.delivery_tag in tags],
            [each for each in batch if each.record.delivery_tag not in tags],
        )

    def end(self) -> None:
        """Note that what was granted is handed out: from here on it runs, or others name it."""
        self._batch = []

    def _name_lost(self, batch: Sequence[Delivery]) -> None:
        """Name what a claim without a definite answer was for: it must not run, and its offsets may be committed."""
        self.lost += len(batch)
        for delivery in batch:
            logger.error(
                "lost: %s: its claim got no answer, so it may be claimed and does not run",
                delivery,
                extra={"event": "task.lost", **delivery.fields},
            )

    # For any thread

    def under_way(self) -> list[Delivery]:
        """Return what a claim is under way for: if the process ends now, it may be claimed and will not run."""
        return list(self._batch)

    @property
    def open_claim(self) -> OpenClaim | None:
        """The claim that is under way, if one is."""
        since, count = self._since, len(self._batch)
        return OpenClaim(self._queue, count, since) if count else None
