"""The producer that a host of shards has at present: one at a time, each under an id of its own."""

from __future__ import annotations

import uuid

from .options import TransportOptions
from .transactionalproducer import TransactionalProducer


class ShardProducer:
    """Of one host; its thread calls it."""

    def __init__(self, options: TransportOptions) -> None:
        """Begin without one.

        Args:
            options: The connection's; prefix and group begin the transactional ids.
        """
        self._options = options
        self.present: TransactionalProducer | None = None
        """The producer, if there is one that may be used."""

    def live(self) -> TransactionalProducer:
        """Return the producer, made if there is none, always under a new id: whoever shuts one out does so once and for all.

        Raises:
            TaskqKafkaError: It could not be made.
        """
        if self.present is None:
            name = f"{self._options.prefix}{self._options.group}-{uuid.uuid4()}"
            self.present = TransactionalProducer(self._options, name)
        return self.present

    def drop(self) -> None:
        """Never use it again: it was, or may be, shut out, or has counted records that the broker has not."""
        self.present = None
