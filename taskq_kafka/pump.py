"""A thread that owns the consumer of one queue, for users who call a channel from elsewhere.

kombu's verbs (`basic_consume`, `drain_events`, `basic_ack`) come from a thread that may be busy for minutes in a callback; a group
member must be polled meanwhile. So the pump polls, keeps a few records ready, and does what others ask of the consumer.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from .consumer import QueueConsumer
from .records import Record

logger = logging.getLogger(__name__)

T = TypeVar("T")

POLL_SECONDS = 0.05
"""Longest wait of the consumer's thread for records; an ack waits as long before it is committed."""

PATIENCE = 0.2
"""Seconds without room before the consumer is paused: shorter waits would throw away what was prefetched."""

BATCH = 100
"""Records that wait in memory at the most where the user has set no prefetch count."""


class Pump:
    """Polls a consumer in a thread of its own and hands records over one by one."""

    def __init__(
        self, name: str, open_consumer: Callable[[], QueueConsumer], arrived: threading.Condition
    ) -> None:
        """Start the thread.

        Args:
            name: The queue's name.
            open_consumer: Makes the consumer, called in the new thread.
            arrived: Notified when a record is ready or the pump has failed.
        """
        self._arrived = arrived
        self._ready: deque[Record] = deque()
        self._requests: queue.SimpleQueue[Callable[[QueueConsumer], None]] = queue.SimpleQueue()
        self._room = 0
        self._more_room = threading.Event()
        self._stopping = False
        self._error: BaseException | None = None
        self._consumer: QueueConsumer | None = None
        self._thread = threading.Thread(
            target=self._run, args=(open_consumer,), name=f"taskq-consumer-{name}", daemon=True
        )
        self._thread.start()

    def set_room(self, room: int) -> None:
        """Say how many records may lie ready and unconsumed."""
        self._room = room
        if room > len(self._ready):
            self._more_room.set()

    def take(self) -> Record | None:
        """Return the next record that is still ours, or None.

        Raises:
            TaskqKafkaError: The consumer has failed for good; the channel is of no use any more.
        """
        while self._ready:
            record = self._ready.popleft()
            if self.holds(record):
                return record
        if self._error is not None:
            raise self._error
        return None

    def holds(self, record: Record) -> bool:
        """Return whether no rebalance has voided a record."""
        return self._consumer is not None and self._consumer.holds(record)

    def put_back(self, record: Record) -> None:
        """Deliver a record again, before all others; its offset stays unsettled meanwhile."""
        record.redelivered = True
        self._ready.appendleft(record)
        self._notify()

    def ask(self, function: Callable[[QueueConsumer], T]) -> Future[T]:
        """Have the owner's thread call a function with the consumer, soon."""
        answer: Future[T] = Future()

        def answering(consumer: QueueConsumer) -> None:
            try:
                answer.set_result(function(consumer))
            except BaseException as error:  # noqa: BLE001 - handed to whoever asked
                answer.set_exception(error)

        self._requests.put(answering)
        self._more_room.set()
        if self._error is not None or not self._thread.is_alive():
            answer.cancel()
        return answer

    def settle(self, record: Record) -> None:
        """Conclude a record; the commit follows within milliseconds and is repeated until it is answered."""
        self._requests.put(lambda consumer: consumer.settle((record,)))

    @property
    def assigned(self) -> bool:
        """Whether the consumer has an assignment, or failed."""
        consumer = self._consumer
        return self._error is not None or (consumer is not None and consumer.assigned)

    def close(self, timeout: float = 10.0) -> None:
        """Commit what is settled, leave the group and end the thread; waits for at most `timeout` seconds."""
        self._stopping = True
        self._more_room.set()
        self._thread.join(timeout)

    def _run(self, open_consumer: Callable[[], QueueConsumer]) -> None:
        try:
            consumer = self._consumer = open_consumer()
            try:
                while not self._stopping:
                    self._serve(consumer)
                    self._fetch(consumer)
                self._serve(consumer)
            finally:
                consumer.close()
        except Exception as error:
            logger.debug("a consumer's thread ends", exc_info=True)
            self._error = error
            self._notify()

    def _serve(self, consumer: QueueConsumer) -> None:
        while True:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return
            request(consumer)

    def _fetch(self, consumer: QueueConsumer) -> None:
        room = min(self._room - len(self._ready), BATCH)
        if room <= 0:
            self._more_room.clear()
            if self._room <= len(self._ready) and not self._more_room.wait(PATIENCE):
                consumer.pause()
                consumer.fetch(1, POLL_SECONDS)
            return
        consumer.resume()
        records = consumer.fetch(room, POLL_SECONDS)
        if records:
            self._ready.extend(records)
            self._notify()

    def _notify(self) -> None:
        with self._arrived:
            self._arrived.notify_all()
