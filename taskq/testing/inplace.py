"""Tasks with a key that wait for their next run in their place: also between two calls of `run_until_idle`, as the clock moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from taskq.protocols import IntakeChannel
from taskq.running.inplace import InPlaceRecord
from taskq.worker.delivery import Acks, Delivery


@dataclass(slots=True)
class _Held:
    delivery: Delivery
    due_ms: int


class HeldInTests:
    """The `taskq.worker.delivery.Order` of an app in a test. Tasks run one after the other: a key is busy while one is held."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._held: dict[tuple[str, bytes], _Held] = {}

    def is_busy(self, delivery: Delivery) -> bool:
        """Return whether a delivery has to wait for another one of its key."""
        return delivery.key is not None and _name(delivery) in self._held

    def next_due(self, now_ms: int) -> Delivery | None:
        """Return the one that has been due for the longest, and hold it no more; None if none is due."""
        due = [(held.due_ms, name) for name, held in self._held.items() if held.due_ms <= now_ms]
        return self._held.pop(min(due)[1]).delivery if due else None

    def take_over(self, channel: IntakeChannel, delivery: Delivery, acks: Acks) -> bool:
        """Let a delivery that settles late stand for the held run of its record, if there is one: the channel of that is closed."""
        held = self._held.get(_name(delivery)) if delivery.key is not None else None
        if held is None or held.delivery.source != delivery.source:
            return False
        tag = delivery.record.delivery_tag
        channel.claim([tag], start=[tag])
        held.delivery.record = replace(cast(InPlaceRecord, held.delivery.record), delivery_tag=tag)
        held.delivery.acks = acks
        return True

    # What ends are told to

    def ended(self, delivery: Delivery) -> None:
        """Do nothing: the next of the key is not started before."""

    def await_again(self, deliveries: Iterable[Delivery]) -> None:
        """Do nothing: no process dies here."""

    def forget(self, delivery: Delivery) -> None:
        """Do nothing, as above."""

    def hold(self, ended: Delivery, again: Delivery, *, due: float, due_ms: int) -> bool:
        """Hold a delivery's next run."""
        again.order = self
        self._held[_name(again)] = _Held(again, due_ms)
        return True


def _name(delivery: Delivery) -> tuple[str, bytes]:
    return delivery.record.queue, delivery.key or b""
