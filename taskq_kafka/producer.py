"""Writing records: one idempotent producer a process, and a delivery report for every record.

Any thread may send. There is no thread of our own, but for some seconds after a record that got no answer: whichever sender waits
serves the delivery reports of all, and hands that duty on when its own have come. Until a send has returned its records are in this
process's memory only.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final, Protocol

from confluent_kafka import KafkaException

from .clientlog import ErrorLog
from .codes import FATAL, RETRIABLE, TOO_LARGE, TOPIC_ABSENT, UNAUTHORIZED, Code
from .errors import (
    BrokerUnreachable,
    ClientError,
    DeliveryFailed,
    HandleDead,
    RecordTooLarge,
    TaskqKafkaError,
    TopicMissing,
    TopicUnauthorized,
    map_error,
)
from .forks import Owner, let_go, new_producer

logger = logging.getLogger(__name__)

SERVE_EVERY: Final = 500
"""Records handed over between two looks at the reports: looking costs nothing then, and the local queue, which counts a record
until its report was fetched, never fills for lack of it."""

WAIT: Final = 1.0
"""Seconds of one wait for reports. Reports end it; it only bounds how late a deadline is seen."""

FULL_WAIT: Final = 0.02
"""Seconds of one wait for room in the full local queue."""

ANY_PARTITION: Final = -1
"""librdkafka's word for a partition that the key decides."""

LOOK_AGAIN: Final = 0.02
"""Seconds between two looks for a topic that was just made."""

LOOK: Final = 4.0
"""Seconds for a broker to answer a client. One that tries to connect waits up to two between its tries."""

_CERTAINLY_UNSENT: Final = frozenset(
    {Code.INVALID_RECORD, Code.LOCAL_QUEUE_FULL, Code.LOCAL_PURGE_QUEUE}
)
"""Refusals, besides those that have a class of their own, after which a record stands nowhere."""


_LOOK_UP_AGAIN: Final = TOPIC_ABSENT | {Code.LOCAL_MSG_TIMED_OUT}
"""Failures after which the topic is looked up before the next record: a topic that was deleted shows as a timeout. While no broker
answers the lookup fails in the record's place, and then it is certain that the record was not sent."""


class Outgoing(Protocol):
    """One record to be written. Its topic is the route's business."""

    @property
    def queue(self) -> str:
        """The queue's name, without prefix."""

    @property
    def key(self) -> bytes | None:
        """Kafka's key."""

    @property
    def value(self) -> bytes | None:
        """Kafka's value."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Headers, as bytes."""


class Route:
    """Which topic a queue's records go to, and how it is made if it is missing."""

    def __init__(
        self,
        topic_of: Callable[[str], str],
        create: Callable[[str, float], None] | None,
        partition_of: Callable[[Any], int] | None = None,
    ) -> None:
        """Build a route.

        Args:
            topic_of: Queue to topic.
            create: Makes the topic of a queue, within so many seconds. None: a missing topic is an error.
            partition_of: Message to partition. None: its key decides.
        """
        self.topic_of = topic_of
        self.create = create
        self.partition_of = partition_of
        self.ready: dict[str, str] = {}
        """Queue to topic, for those that were seen to exist."""


class _Batch:
    """The records of one send, and what was reported of them."""

    __slots__ = ("dead", "errors", "expected", "reported", "wake")

    def __init__(self, size: int) -> None:
        self.errors: list[TaskqKafkaError | ClientError | None] = [None] * size
        # A send may go through two handles, if the first one dies: a record's error condemns the one that had it, no other.
        self.dead: set[_Handle] = set()
        self.expected = size
        # Only ever appended to, which needs no lock: the sender and whoever serves the reports run side by side.
        self.reported: list[int] = []
        # Only a sender that does not serve itself needs one. A queue, because its put is one step in C, from any thread, and a
        # threading.Event's set is five.
        self.wake: SimpleQueue[None] | None = None

    def report(
        self, index: int, handle: _Handle, error: ClientError | None, message: object
    ) -> None:
        """Take a delivery report from the handle that had the record; called inside a poll of any thread."""
        if error is not None:
            self.errors[index] = error
            if error.fatal() or error.code() in FATAL:
                self.dead.add(handle)
        self.reported.append(index)
        if self.wake is not None and len(self.reported) >= self.expected:
            self.wake.put(None)

    def is_complete(self) -> bool:
        """Whether every record that was handed over has its report."""
        return len(self.reported) >= self.expected

    def is_acknowledged(self) -> bool:
        """Whether the broker has said yes to every record."""
        return not any(self.errors) and len(self.reported) == len(self.errors)


class _Handle:
    """One librdkafka producer, and who of its users serves the reports."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.error_log: ErrorLog = config["error_cb"]
        self.producer = new_producer(config)
        self.owner = Owner()
        self._serving = threading.Lock()
        self._waiting: deque[_Batch] = deque()
        self._is_settled = False

    def serve(self, timeout: float = 0) -> None:
        """Serve what has been reported; waits up to `timeout` seconds for the first report, or for whoever serves already."""
        taken = self._serving.acquire(timeout=timeout) if timeout else self._serving.acquire(False)
        if taken:
            try:
                self.producer.poll(timeout)
            finally:
                self._hand_on()

    def wait(self, batch: _Batch, deadline: float) -> None:
        """Block until the batch is complete or the deadline has passed."""
        while not batch.is_complete():
            remaining = deadline - monotonic()
            if remaining <= 0:
                # It may have been woken to serve: that is another's then.
                self._wake_another(batch)
                return
            if self._serving.acquire(blocking=False):
                self._serve_until(batch, deadline)
                return
            # First in line, then try again: who lets go of the duty looks at the line afterwards.
            wake = batch.wake = batch.wake or SimpleQueue()
            self._waiting.append(batch)
            try:
                if self._serving.acquire(blocking=False):
                    self._serve_until(batch, deadline)
                    return
                if not batch.is_complete():
                    with suppress(Empty):
                        wake.get(timeout=min(remaining, WAIT))
            finally:
                self._waiting.remove(batch)

    def _serve_until(self, batch: _Batch, deadline: float) -> None:
        """Serve everybody's reports until this batch is complete, then hand the duty on."""
        try:
            while not batch.is_complete():
                remaining = deadline - monotonic()
                if remaining <= 0:
                    return
                self.producer.poll(min(remaining, WAIT))
        finally:
            self._hand_on(batch)

    def _hand_on(self, done: _Batch | None = None) -> None:
        """Let go of the duty to serve, and wake another who may take it."""
        self._serving.release()
        if self._waiting:
            self._wake_another(done)

    def _wake_another(self, done: _Batch | None) -> None:
        """Wake the first in line who still needs reports."""
        for batch in list(self._waiting):
            # One that is complete leaves without serving: woken in the others' place it would let all of them wait.
            if batch is not done and batch.wake is not None and not batch.is_complete():
                batch.wake.put(None)
                return

    def hand_over(
        self,
        place: tuple[str, int],
        message: Outgoing,
        report: Callable[..., None],
        deadline: float,
    ) -> None:
        """Give a record for a topic and partition to librdkafka; waits for room in its queue until the deadline.

        Raises:
            TaskqKafkaError: It was not taken.
        """
        topic, partition = place
        headers: Any = message.headers
        if not isinstance(headers, list):
            headers = list(headers)  # the client takes no other sequence
        while True:
            try:
                self.producer.produce(
                    topic,
                    message.value,
                    message.key,
                    partition,
                    on_delivery=report,
                    headers=headers,
                )
                return
            except BufferError:
                if monotonic() >= deadline:
                    why = f"the local queue is full{self.error_log.hint()}"
                    raise DeliveryFailed(message.queue, why, retriable=True) from None
                self.serve(FULL_WAIT)
            except KafkaException as error:
                raise map_error(error, topic=message.queue) from error
            except (TypeError, ValueError) as error:
                raise DeliveryFailed(message.queue, f"not a record: {error}") from error

    def answers(self, topic: str, timeout: float) -> bool:
        """Return whether a broker answers this client within so many seconds; what it says of the topic does not matter."""
        try:
            self.producer.list_topics(topic, timeout=timeout)
        except KafkaException:
            return False
        return True

    def abandon(self) -> None:
        """Give up what is under way: whoever waits for it gets an error."""
        self.producer.purge()  # ends the wait of whoever serves now
        with self._serving:
            while len(self.producer) and self.producer.poll(WAIT):
                pass
        for batch in list(self._waiting):
            if batch.wake is not None:
                batch.wake.put(None)

    def look_up(self, topic: str, timeout: float) -> bool:
        """Return whether a topic exists and has leaders. Also connects: it spares the first record half a second.

        librdkafka asks for its producer id when a broker's answer about topics comes, of a broker that is up by then, else half a
        second later. The first answer makes it leave the bootstrap connection, so that often none is: the second is of the broker
        it went over to (rd_kafka_idemp_pid_fsm, rd_kafka_metadata_decommission_unavailable_brokers; read in 2.16).

        Raises:
            TaskqKafkaError: No broker answered, or we may not know.
        """
        deadline = monotonic() + timeout
        try:
            if not self._is_settled:
                self.producer.list_topics(topic, timeout=max(timeout, 0.001))
                self._is_settled = True
            remaining = max(deadline - monotonic(), 0.001)
            found = self.producer.list_topics(topic, timeout=remaining).topics[topic]
        except KafkaException as error:
            self.serve()
            raise self.error_log.explain(error) from error
        if found.error is None:
            return all(partition.leader >= 0 for partition in found.partitions.values())
        code = found.error.code()
        if code in TOPIC_ABSENT or code == Code.LEADER_NOT_AVAILABLE:
            return False
        raise self.error_log.explain(found.error, topic=topic)


class SharedProducer:
    """The producer of a process for one configuration.

    In a forked child it makes itself a new handle; what the parent has under way is the parent's alone.
    """

    def __init__(self, config: Callable[[], dict[str, Any]]) -> None:
        """Build it; nothing is connected before the first send.

        Args:
            config: Makes librdkafka's configuration, new for each client.
        """
        self._config = config
        self._begin()

    def _begin(self) -> None:
        self._owner = Owner()
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._handle: _Handle | None = None

    def send(
        self, messages: Sequence[Outgoing], route: Route, *, timeout: float
    ) -> list[TaskqKafkaError | None]:
        """Write records and wait until the broker has acknowledged each, at most `timeout` seconds for all.

        A record that was not acknowledged within `publish_timeout` is not sent any more, by librdkafka's own clock.

        Returns:
            For each message None, or the error. An error whose `sent` is not False means unknown.
        """
        deadline = monotonic() + timeout
        handle = self._current()
        batch = _Batch(len(messages))
        handed = 0
        report, ready, partition_of = batch.report, route.ready, route.partition_of
        for index, message in enumerate(messages):
            topic = ready.get(message.queue)
            try:
                if topic is None:
                    topic = self._prepare(handle, route, message.queue, deadline)
                place = (topic, ANY_PARTITION if partition_of is None else partition_of(message))
                try:
                    handle.hand_over(place, message, partial(report, index, handle), deadline)
                except HandleDead:
                    handle = self._replace(handle)
                    handle.hand_over(place, message, partial(report, index, handle), deadline)
            except TaskqKafkaError as error:
                if isinstance(error, BrokerUnreachable):
                    self._doubt(handle, route.topic_of(message.queue))
                batch.errors[index] = _unsent(error)
                continue
            handed += 1
            if handed % SERVE_EVERY == 0:
                handle.serve()
        batch.expected = handed
        handle.wait(batch, deadline)
        if batch.is_acknowledged():
            return [None] * len(messages)
        return self._results(handle, batch, messages, route, timeout)

    def prepare(self, queue: str, route: Route, *, timeout: float) -> TaskqKafkaError | None:
        """Make sure that a queue's topic exists; return the error if it does not. Blocks the first time only."""
        if queue in route.ready:
            return None
        try:
            self._prepare(self._current(), route, queue, monotonic() + timeout)
        except TaskqKafkaError as error:
            return _unsent(error)
        return None

    def close(self, *, timeout: float) -> None:
        """Send what is still in the local queue, wait for it at most so many seconds, and let go of the connections."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None and handle.owner.is_here():
            handle.producer.flush(timeout)

    def _current(self) -> _Handle:
        """Return this process's handle, made at the first call."""
        if not self._owner.is_here():
            # A fork's copy: its locks may be held by threads that do not exist here.
            self._begin()
        handle = self._handle
        if handle is not None:
            return handle
        with self._lock:
            if self._handle is None:
                self._handle = _Handle(self._config())
            return self._handle

    def _replace(self, dead: _Handle) -> _Handle:
        """Put a new handle in the place of one that is of no more use, once however many threads find out."""
        with self._lock:
            if self._handle is dead:
                logger.warning(
                    "the Kafka producer is replaced; records under way count as not acknowledged",
                    extra={"event": "producer.replaced"},
                )
                self._handle = None
        dead.abandon()
        return self._current()

    def _doubt(self, handle: _Handle, topic: str) -> None:
        """Have a handle looked into that got no answer, in a thread of its own, unless one is at it."""
        if self._looking.acquire(blocking=False):
            look = partial(self._look_into, handle, topic)
            threading.Thread(target=look, name="taskq-producer-look", daemon=True).start()

    def _look_into(self, handle: _Handle, topic: str) -> None:
        """Replace a handle that hears nothing while another one is answered.

        A client may stay cut off from a broker that is back (docs/decisions/0027-clients-that-stay-away.md).
        """
        try:
            if handle.answers(topic, LOOK):
                return
            other = _Handle(self._config())
            # The broker may just be back: then the old one hears of it, too, a moment later.
            if not other.answers(topic, LOOK) or handle.answers(topic, LOOK):
                let_go(other.producer)
                return
            with self._lock:
                if self._handle is not handle:
                    return
                logger.warning(
                    "the Kafka producer is replaced: it gets no answer from a broker that answers another client",
                    extra={"event": "producer.replaced"},
                )
                self._handle = other
            handle.abandon()
            let_go(handle.producer)
        finally:
            self._looking.release()

    def _prepare(self, handle: _Handle, route: Route, queue: str, deadline: float) -> str:
        """Return the topic of a queue, which exists then. Blocks for a round trip, once a process and queue.

        Raises:
            TaskqKafkaError: It does not exist and may not be made, or no broker answered in time.
        """
        topic = route.topic_of(queue)
        if not handle.look_up(topic, deadline - monotonic()):
            if route.create is None:
                raise TopicMissing(topic)
            route.create(queue, deadline - monotonic())
            while not handle.look_up(topic, deadline - monotonic()):
                handle.serve(LOOK_AGAIN)
        route.ready[queue] = topic
        return topic

    def _results(
        self,
        handle: _Handle,
        batch: _Batch,
        messages: Sequence[Outgoing],
        route: Route,
        timeout: float,
    ) -> list[TaskqKafkaError | None]:
        """Return an error of ours, or None, for each message of a batch."""
        results: list[TaskqKafkaError | None] = [None] * len(messages)
        unanswered = set(range(len(messages))).difference(batch.reported)
        for index, error in enumerate(list(batch.errors)):
            queue = messages[index].queue
            if isinstance(error, TaskqKafkaError):
                results[index] = error
            elif error is not None:
                if error.code() == Code.LOCAL_MSG_TIMED_OUT:
                    self._doubt(handle, route.topic_of(queue))
                results[index] = _explain(error, queue, handle.error_log)
                if error.code() in _LOOK_UP_AGAIN:
                    route.ready.pop(queue, None)
            elif index in unanswered:
                self._doubt(handle, route.topic_of(queue))
                why = f"no acknowledgement within {timeout:g} s{handle.error_log.hint()}"
                results[index] = DeliveryFailed(queue, why, retriable=True)
        for dead in batch.dead:
            self._replace(dead)
        return results


def _explain(error: ClientError, queue: str, error_log: ErrorLog) -> TaskqKafkaError:
    """Return our error for a delivery report."""
    code = error.code()
    if code in TOO_LARGE:
        return RecordTooLarge(queue, error.str())
    if code in UNAUTHORIZED:
        return _unsent(TopicUnauthorized(queue, error.str()))
    if code in TOPIC_ABSENT:
        return _unsent(TopicMissing(queue))
    if code == Code.INVALID_TIMESTAMP:
        return map_error(error)
    hint = error_log.hint() if code == Code.LOCAL_MSG_TIMED_OUT else ""
    return DeliveryFailed(
        queue,
        error.str() + hint,
        code=code,
        retriable=code in RETRIABLE,
        sent=False if code in _CERTAINLY_UNSENT else None,
    )


def _unsent(error: TaskqKafkaError) -> TaskqKafkaError:
    """Return an error that came before its record left this process."""
    error.sent = False
    return error
