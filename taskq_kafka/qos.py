"""Delivery tag ↔ record: what a channel has handed out and nobody has settled."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .records import Record


class QoS:
    """The unsettled deliveries of one channel, and how many there may be.

    kombu asks for acks from the thread that consumes; nothing here is shared with another.
    """

    def __init__(
        self, *, settle: Callable[[Record], None], redeliver: Callable[[Record], None]
    ) -> None:
        """Begin with nothing delivered and no limit.

        Args:
            settle: Concludes a record.
            redeliver: Has a record delivered once more.
        """
        self.prefetch_count = 0
        """How many deliveries may be unsettled at a time; 0 is no limit (AMQP's `basic.qos`)."""
        self._settle = settle
        self._redeliver = redeliver
        self._delivered: dict[int, Record] = {}

    def __len__(self) -> int:
        return len(self._delivered)

    def append(self, record: Record) -> None:
        """Enter a delivery."""
        self._delivered[record.delivery_tag] = record

    def get(self, tag: int) -> Record | None:
        """Return the record of an unsettled delivery, or None: it is settled, or its channel never had it."""
        return self._delivered.get(tag)

    def take(self, tags: Iterable[int]) -> list[Record]:
        """Remove deliveries that are settled otherwise (a claim), and return their records; unknown tags are passed over."""
        records = (self._delivered.pop(tag, None) for tag in tags)
        return [record for record in records if record is not None]

    def forget_unless(self, is_held: Callable[[Record], bool]) -> None:
        """Remove deliveries that are void: nobody can settle them here any more, and they come again."""
        self._delivered = {
            tag: record for tag, record in self._delivered.items() if is_held(record)
        }

    def can_consume(self) -> bool:
        """Return whether one more may be delivered."""
        return not self.prefetch_count or len(self._delivered) < self.prefetch_count

    def can_consume_max_estimate(self) -> int | None:
        """Return how many more may be delivered; None is no limit (kombu's word)."""
        if not self.prefetch_count:
            return None
        return max(self.prefetch_count - len(self._delivered), 0)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Conclude a delivery, and with `multiple` all before it (as in AMQP)."""
        tags = [other for other in self._delivered if other <= tag] if multiple else [tag]
        for record in self.take(tags):
            self._settle(record)

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Conclude one delivery, or have that one record delivered again."""
        for record in self.take([tag]):
            (self._redeliver if requeue else self._settle)(record)

    def recover(self) -> None:
        """Have all unsettled deliveries delivered again, in their order."""
        for record in reversed(self.take(list(self._delivered))):
            self._redeliver(record)
