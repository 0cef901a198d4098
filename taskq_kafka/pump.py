"""A thread that owns the consumer of one queue, for users who call a channel from elsewhere.

kombu's verbs (`basic_consume`, `drain_events`, `basic_ack`) come from a thread that may be busy for minutes in a callback; a group
member must be polled meanwhile. So the pump polls, keeps a few records ready, and does what others ask of the consumer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from .codes import Code
from .errors import ConnectionBroken
from .forks import Owner
from .records import Record

if TYPE_CHECKING:
    from .consumer import QueueConsumer

logger = logging.getLogger(__name__)

T = TypeVar("T")

POLL_SECONDS = 0.05
"""Longest wait of the consumer's thread for records; an ack waits as long before it is committed."""

PATIENCE = 0.2
"""Seconds without room before the consumer is paused: shorter waits would throw away what was prefetched."""

ROUND_SECONDS = 2.0
"""Between two calls of `on_round`."""

BATCH = 100
"""Records that wait in memory at the most where the user has set no prefetch count."""


class _Request:
    """A function that the consumer's thread is to call, and who waits for its result."""

    __slots__ = ("_function", "answer")

    def __init__(self, function: Callable[[QueueConsumer], T], answer: Future[T]) -> None:
        self._function: Callable[[QueueConsumer], object] = function
        self.answer: Future[Any] = answer

    def serve(self, consumer: QueueConsumer) -> None:
        """Call it; what it raises belongs to whoever asked."""
        try:
            self.answer.set_result(self._function(consumer))
        except BaseException as error:  # noqa: BLE001 - handed on
            self.answer.set_exception(error)


class Pump:
    """Polls a consumer in a thread of its own and hands records over one by one.

    A forked child has no such thread, only a copy of what lay ready: all that asks for records raises NotThisProcess there.
    """

    def __init__(
        self,
        name: str,
        open_consumer: Callable[[], QueueConsumer],
        arrived: threading.Condition,
        *,
        on_round: Callable[[], None] | None = None,
    ) -> None:
        """Start the thread.

        Args:
            name: The queue's name.
            open_consumer: Makes the consumer, called in the new thread.
            arrived: Notified when a record is ready or the pump has failed.
            on_round: Called in the new thread every few seconds.
        """
        self._owner = Owner()
        self._arrived = arrived
        self._ready: deque[Record] = deque()
        self._requests: deque[_Request] = deque()
        self._asking = threading.Lock()
        """Held by whoever adds a request or ends the pump, so that none comes after the last look at them."""
        self._on_round = on_round
        self._next_round = time.monotonic() + ROUND_SECONDS
        self._room = 0
        self._more_room = threading.Event()
        self._stopping = False
        self._error: BaseException | None = None
        """Why no request is taken any more."""
        self._consumer: QueueConsumer | None = None
        self._thread = threading.Thread(
            target=self._run, args=(open_consumer,), name=f"taskq-consumer-{name}", daemon=True
        )
        self._thread.start()

    def set_room(self, room: int) -> None:
        """Say how many records may lie ready and unconsumed."""
        self._owner.require()
        self._room = room
        if room > len(self._ready):
            self._more_room.set()

    def take(self) -> Record | None:
        """Return the next record that is still ours, or None.

        Raises:
            TaskqKafkaError: The consumer has failed for good; the channel is of no use any more.
        """
        self._owner.require()
        if self._error is not None:
            raise self._error
        while self._ready:
            record = self._ready.popleft()
            if self.holds(record):
                return record
        return None

    def holds(self, record: Record) -> bool:
        """Return whether no rebalance has voided a record."""
        return self._consumer is not None and self._consumer.holds(record)

    def put_back(self, record: Record) -> None:
        """Deliver a record again, before all others; its offset stays unsettled meanwhile."""
        self._owner.require()
        record.redelivered = True
        self._ready.appendleft(record)
        self._notify()

    def ask(self, function: Callable[[QueueConsumer], T]) -> Future[T]:
        """Have the owner's thread call a function with the consumer, soon.

        The future gets its result, or the error that ended the pump before it came to it.
        """
        self._owner.require()
        answer: Future[T] = Future()
        with self._asking:
            if self._error is not None:
                answer.set_exception(self._error)
                return answer
            self._requests.append(_Request(function, answer))
        self._more_room.set()
        return answer

    def settle(self, record: Record) -> None:
        """Conclude a record; the commit follows within milliseconds and is repeated until it is answered.

        After the pump has ended it does nothing: the record comes again, and `take` says why.
        """
        self.ask(lambda consumer: consumer.settle((record,)))

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
        except Exception as error:
            logger.debug("a consumer cannot be opened", exc_info=True)
            self._end(error)
            return
        try:
            while not self._stopping:
                self._serve(consumer)
                self._fetch(consumer)
                self._look_round()
            self._serve(consumer)
            self._end(ConnectionBroken(Code.LOCAL_DESTROY, "_DESTROY", "the channel is closed"))
        except Exception as error:
            logger.debug("a consumer's thread ends", exc_info=True)
            # Before the close, which may take long: nobody must wait meanwhile for what will not come.
            self._end(error)
        finally:
            self._close(consumer)

    def _look_round(self) -> None:
        if self._on_round is not None and time.monotonic() >= self._next_round:
            self._on_round()
            self._next_round = time.monotonic() + ROUND_SECONDS

    def _end(self, error: BaseException) -> None:
        """Take no more requests, and answer those that are left with the reason."""
        with self._asking:
            self._error = error
        for request in self._requests:
            request.answer.set_exception(error)
        self._requests.clear()
        self._notify()

    def _close(self, consumer: QueueConsumer) -> None:
        try:
            consumer.close()
        except Exception:
            # The thread's last door; what the consumer had not committed comes again.
            logger.exception(
                "closing a consumer failed; its partitions move on when its session ends",
                extra={"event": "consumer.error"},
            )

    def _serve(self, consumer: QueueConsumer) -> None:
        while self._requests:
            request = self._requests.popleft()
            request.serve(consumer)

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
