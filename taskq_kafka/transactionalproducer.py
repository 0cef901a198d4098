"""The producer of an owner of shards: two clients, which write transactions in turns, and what is known of their topics.

The broker answers a commit before it has told all partitions of the transaction. A client that names partitions of the next one
meanwhile is refused, and tries that again after 20 ms, a number of librdkafka's that cannot be set. Where much is due, one
transaction follows another at once: so the other client writes it. Never are two open at a time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from .codes import TOPIC_ABSENT, Code
from .errors import TaskqKafkaError
from .options import TransportOptions
from .transactions import Broken, Line, Refused, TransactionalClient

COUNTED_SECONDS: Final = 300.0
"""For which a topic counts as having the partitions it had: librdkafka's own interval, too."""

COUNT_SECONDS: Final = 1.0
"""Waits for the answer how many there are now."""


_ENDS: Final = ("", ".2")
"""What the transactional ids of the clients have behind the producer's. Whoever shuts out an owner has to know all of them."""


class TransactionalProducer:
    """Writes transactions, one after the other. One thread uses it."""

    def __init__(self, options: TransportOptions, transactional_id: str) -> None:
        """Make it and introduce it to the coordinator; ends whatever was open under its id. Blocks for some milliseconds.

        Raises:
            TaskqKafkaError: There was no answer, or we may not use the id.
        """
        self.id = transactional_id
        ids = [transactional_id + end for end in _ENDS]
        self._clients = deque(TransactionalClient(options, id) for id in ids)
        # All before anything is written: who was shut out meanwhile would let himself in again by it.
        for client in self._clients:
            client.introduce()
        self._topics: dict[str, tuple[int, float]] = {}
        """Those that were seen to exist: how many partitions they have, and when that is to be asked again."""

    def knows(self, topic: str) -> bool:
        """Whether a topic was seen to exist since the last failure."""
        return topic in self._topics

    def look_up(self, topic: str, *, timeout: float) -> bool:
        """Return whether a topic exists and has leaders; blocks for a round trip of each client.

        Raises:
            TaskqKafkaError: No broker answered, or we may not know.
        """
        found = [self._found(client, topic, timeout) for client in self._clients]
        if None in found:
            return False
        self._topics[topic] = min(map(_count, found)), time.monotonic() + COUNTED_SECONDS
        return True

    def partitions(self, topic: str) -> int | None:
        """Return how many partitions a topic has; None: it was not seen since the last failure.

        Now and then it asks, as there may be more by now, which takes a round trip.
        """
        count, until = self._topics.get(topic, (None, 0.0))
        if count is not None and time.monotonic() >= until:
            try:
                found = [self._found(each, topic, COUNT_SECONDS) for each in self._clients]
            except TaskqKafkaError:
                # The old ones are as good as before, and the others are not to be waited for, too.
                later = time.monotonic() + COUNTED_SECONDS
                self._topics = {name: (known, later) for name, (known, _) in self._topics.items()}
                return count
            count = count if None in found else min(map(_count, found))
            self._topics[topic] = count, time.monotonic() + COUNTED_SECONDS
        return count

    def write(self, lines: Sequence[Line]) -> None:
        """Write records in one transaction; returns when the broker has committed it.

        If this process dies here, its heir ends the transaction, unless the broker had taken the commit.

        Raises:
            Refused: Nothing was written, because of one of the records.
            Broken: All else.
        """
        client = self._clients[0]
        self._clients.rotate()
        try:
            client.write(lines)
        except (Refused, Broken):
            self._topics.clear()
            raise

    def _found(self, client: TransactionalClient, topic: str, timeout: float) -> Any:
        """Return what a client knows of a topic that has leaders for all of its partitions; else None."""
        found = client.topic(topic, timeout=timeout)
        if found.error is not None:
            code = found.error.code()
            if code in TOPIC_ABSENT or code == Code.LEADER_NOT_AVAILABLE:
                return None
            raise client.explain(found.error, topic)
        has_leaders = all(partition.leader >= 0 for partition in found.partitions.values())
        return found if has_leaders else None


def _count(found: Any) -> int:
    return len(found.partitions)


def shut_out(options: TransportOptions, transactional_id: str) -> None:
    """End what is open under an owner's id, and keep whoever has it from ever committing again. Blocks for a moment.

    Raises:
        TaskqKafkaError: There was no answer, or we may not use the id: nothing is known then.
    """
    TransactionalProducer(options, transactional_id)
