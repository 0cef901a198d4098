"""What `doctor` and `queues` see of open transactions, which hold back all who read what is committed."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Final

from taskq.clock import Clock
from taskq.protocols import Admin, HeldPartition

_LOOK_AGAIN: Final = 2.0
"""Seconds until an open transaction is looked for again: one that just fires what is due is over in milliseconds."""


def held_up(
    admin: Admin, topics: Sequence[str], clock: Clock, timeout: float
) -> list[HeldPartition]:
    """Return the partitions of topics, by Kafka's names, whose open transaction is still open a while later."""
    first = {
        (held.topic, held.partition, held.offset) for held in admin.held_up(topics, timeout=timeout)
    }
    if not first:
        return []
    clock.wait(Event(), _LOOK_AGAIN)
    again = admin.held_up(sorted({topic for topic, *_ in first}), timeout=timeout)
    return [held for held in again if (held.topic, held.partition, held.offset) in first]
