"""Where a consumer goes on in a partition whose committed offset is missing, or outside of the log; and what the log says of it."""

from __future__ import annotations

import logging
import time

from .assignment import Owned
from .membership import Membership
from .offsets import Expiry, State
from .options import TransportOptions
from .retention import offsets_retention_ms

logger = logging.getLogger(__name__)

OFFSETS_RETENTION_LEAST_MS = 60_000
"""The shortest time a broker can be told to keep the offsets of an empty group; younger records need no look at its setting."""


class Places:
    """Of one consumer; its owner calls it. Asks the broker for the ends of the log."""

    def __init__(self, options: TransportOptions, queue: str, membership: Membership) -> None:
        """Prepare.

        Args:
            options: The connection's options.
            queue: The consumer's.
            membership: Whose partitions they are.
        """
        self._options = options
        self._queue = queue
        self._membership = membership

    def prove(self, owned: Owned, first_timestamp_ms: int) -> None:
        """Decide by its first record whether a partition without committed offset is new, or its offsets expired.

        A broker forgets the offsets of a group that was empty for `offsets.retention.minutes`. What that group had claimed is
        older than this; so younger records are certainly unclaimed, and older ones may have been run.
        """
        owned.unproven = False
        now_ms = int(time.time() * 1000)
        if first_timestamp_ms < 0 or first_timestamp_ms >= now_ms - OFFSETS_RETENTION_LEAST_MS:
            return
        cutoff_ms = now_ms - offsets_retention_ms(self._options)
        if first_timestamp_ms >= cutoff_ms:
            return
        _, end = self._membership.watermarks(owned.partition)
        owned.offsets.expiry = Expiry(end, cutoff_ms)
        logger.warning(
            "queue %s partition %d: the group has no committed offset, and records before offset %d are older than the broker "
            "keeps offsets; whether they ran is unknown, they go to the dead letters as offset_expired",
            self._queue,
            owned.partition,
            end,
            extra={"event": "consumer.offsets_expired", "queue": self._queue},
        )

    def find(self, owned: Owned) -> None:
        """Go on where the log has something, after an offset outside of it."""
        low, high = self._membership.watermarks(owned.partition)
        position = owned.offsets.position
        if low <= position <= high:
            self._go_on(owned, position, low, high)
        elif position < low:
            self._skip_deleted(owned, position, low)
        else:
            self._go_back_to_end(owned, position, high)

    def _go_on(self, owned: Owned, position: int, low: int, high: int) -> None:
        """Read on at an offset that is in the log now.

        Whoever asked was a moment ahead of the broker, or the log has grown past the offset since. What lies between its former end
        and the offset cannot be told from what was claimed before it was lost.
        """
        logger.warning(
            "queue %s partition %d: offset %d was outside the log for a moment, which has %d to %d now; going on there",
            self._queue,
            owned.partition,
            position,
            low,
            high,
            extra={"event": "consumer.place_found", "queue": self._queue},
        )
        self._membership.seek(owned, position)

    def _skip_deleted(self, owned: Owned, position: int, low: int) -> None:
        logger.warning(
            "queue %s partition %d: records %d to %d were deleted before they were claimed (retention, or a purge)",
            self._queue,
            owned.partition,
            position,
            low - 1,
            extra={"event": "consumer.records_deleted", "queue": self._queue},
        )
        owned.dirty |= owned.offsets.reach(low)
        self._membership.seek(owned, low)

    def _go_back_to_end(self, owned: Owned, position: int, high: int) -> None:
        logger.error(
            "queue %s partition %d: the group has claimed up to offset %d, but the log ends at %d: the broker has lost records "
            "(an unclean leader election?); going on at its end, nothing is run again",
            self._queue,
            owned.partition,
            position,
            high,
            extra={"event": "consumer.log_truncated", "queue": self._queue},
        )
        fresh = self._membership.assignment.assign(owned.partition, State(high))
        fresh.dirty = True
        self._membership.seek(fresh, high)
