"""Moving records out of a queue: what is written in their place and the offsets that settle them, in one transaction.

A record that is not to be run yet leaves its queue this way, for a log of timers. Nobody sees the one without the other.

Why it is safe. Offsets in a transaction are fenced by the member as it was when the records were polled: with that snapshot the
broker refuses a member that has lost its place meanwhile, however late the transaction comes. The heir of a partition reads the
group's offsets only when no transaction on them is open, so it begins before our records or behind them, for good.

How it may end:

- done: the broker has said yes.
- refused, or failed: the commit was never asked for, or refused, and can never come. Nothing was moved.
- unknown: the producer was fenced while it asked for the commit, or whoever waited has given up. Then the coordinator alone knows,
  and ends the transaction by its time limit at the latest (10 s, and up to 10 s more until it looks: so long may a killed worker
  hold up the readers of the log, and the heirs of its partitions). The caller has to forget these partitions and to commit nothing
  for them: a plain commit that is younger than the transaction would win over it, and what was moved would come again. Where they
  are assigned next, here or elsewhere, the group tells how it ended. So each record is either moved, or comes again.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from . import forks
from .codes import COMMIT_REFUSED, TOO_LARGE, TOPIC_ABSENT, UNAUTHORIZED, Code
from .errors import ClaimGivenUp, RecordTooLarge, TopicMissing, TopicUnauthorized, map_error
from .offsets import State
from .options import TransportOptions
from .topics import log_partition

logger = logging.getLogger(__name__)

STEP = 2.0
"""Seconds of one call that waits for the broker; between two the caller may give up."""

PAUSE = 0.1
"""Seconds between two tries of what got no answer."""

ROOM_WAIT = 0.1
"""Seconds of one wait for room in the producer's full queue."""


class LogWrite(Protocol):
    """One record for a log, as `taskq.timing.shards.Write` has it."""

    @property
    def log(self) -> str:
        """The log's name, without prefix."""

    @property
    def route(self) -> bytes:
        """Decides the partition."""

    @property
    def key(self) -> bytes:
        """Kafka's key."""

    @property
    def value(self) -> bytes | None:
        """Kafka's value."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Headers, as bytes."""


class Ending(Enum):
    """How a move ended."""

    DONE = "done"
    REFUSED = "refused"
    """Nothing was moved, and the same records may be moved when they have come again."""

    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """What is written, and what is settled by it."""

    writes: Sequence[LogWrite]
    topic: str
    states: Mapping[int, State]
    """Of the topic's partitions, with the moved records settled."""

    member: Any
    """The consumer's group metadata, taken before the records were polled."""

    give_up: Callable[[], bool]
    tags: Sequence[int] = ()
    """Delivery tags that a given-up move names."""

    failures: list[KafkaError] = field(default_factory=list)
    """What the broker said to records that it did not take."""


class Mover:
    """The transactional producer of one consumer. One thread uses it; it is made with the first move."""

    def __init__(
        self,
        options: TransportOptions,
        *,
        new_producer: Callable[[dict[str, Any]], Any] = forks.new_producer,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Prepare; nothing is connected yet."""
        self._options = options
        self._new_producer = new_producer
        self._sleep = sleep
        # Behind the name of the timers' owners: the rights that these need are enough for it.
        self._id = f"{options.prefix}taskq-timers-moves-{uuid.uuid4().hex}"
        self._producer: Any = None
        self._partitions: dict[str, int] = {}

    def move(self, request: MoveRequest) -> Ending:
        """Write and settle, both or neither. Blocks until it is known which, through an outage too; never polls the consumer.

        Raises:
            ClaimGivenUp: `give_up()` was true while there was no answer: how it ended is unknown.
            TaskqKafkaError: Nothing was moved, and it will not be before somebody acts: a log without topic, no rights, a record
                that is too large; or no broker answered before anything was begun.
        """
        producer = self._producer or self._open()
        places = [self._place(producer, write) for write in request.writes]
        try:
            self._collect(producer, request, places)
        except KafkaException as exception:
            return self._end_failed(producer, request, exception.args[0])
        except BaseException:
            self._drop()
            raise
        try:
            self._patiently(request, producer.commit_transaction)
        except KafkaException as exception:
            error = exception.args[0]
            if error.txn_requires_abort() and not error.fatal():
                return self._end_failed(producer, request, error)
            self._drop()
            _say_unknown(request, error)
            return Ending.UNKNOWN
        except BaseException:
            self._drop()
            raise
        return Ending.DONE

    # -- the transaction ----------------------------------------------------------------------------------------------

    def _collect(
        self, producer: Any, request: MoveRequest, places: Sequence[tuple[str, int]]
    ) -> None:
        """Begin, and put all into the transaction; afterwards only the commit is missing."""
        producer.begin_transaction()
        report = partial(_report, request.failures)
        for write, (topic, number) in zip(request.writes, places, strict=True):
            self._produce(producer, request, topic, number, write, report)
        offsets = [
            TopicPartition(request.topic, number, state.offset, state.metadata())
            for number, state in request.states.items()
        ]
        self._patiently(
            request,
            lambda seconds: producer.send_offsets_to_transaction(offsets, request.member, seconds),
        )

    def _produce(
        self,
        producer: Any,
        request: MoveRequest,
        topic: str,
        number: int,
        write: LogWrite,
        report: Callable[..., None],
    ) -> None:
        while True:
            try:
                producer.produce(
                    topic,
                    write.value,
                    write.key,
                    number,
                    on_delivery=report,
                    headers=list(write.headers),
                )
                return
            except BufferError:
                if request.give_up():
                    raise ClaimGivenUp(request.tags) from None
                producer.poll(ROOM_WAIT)

    def _end_failed(self, producer: Any, request: MoveRequest, error: KafkaError) -> Ending:
        """Abort a transaction whose commit was not asked for, or was refused; return, or raise, why it failed."""
        if not error.fatal():
            self._abort(producer, request)
        # If it is open still it can never be committed: nobody else has our transactional id, and a new handle under it ends it.
        # The old one is of no use: after a refused record it counts the next ones wrongly (OUT_OF_ORDER_SEQUENCE_NUMBER).
        self._drop()
        cause = next(iter(request.failures), error)
        if cause.code() in COMMIT_REFUSED or error.code() in COMMIT_REFUSED:
            logger.info(
                "%s: a move was refused (%s); its records will be fetched again, here or by another member",
                request.topic,
                error.name(),
                extra={"event": "move.refused", "topic": request.topic},
            )
            return Ending.REFUSED
        raise self._explain(cause, request.writes[0].log) from KafkaException(error)

    def _abort(self, producer: Any, request: MoveRequest) -> None:
        """Abort, so that readers of the log need not wait for the coordinator to do it."""
        try:
            self._patiently(request, producer.abort_transaction)
        except (KafkaException, ClaimGivenUp):
            logger.debug("%s: a transaction was not aborted", request.topic, exc_info=True)

    def _patiently(self, request: MoveRequest, call: Callable[[float], object]) -> None:
        """Make a call of the transaction, again and again while it gets no answer.

        Raises:
            ClaimGivenUp: Whoever waits has given it up.
            KafkaException: The answer is no.
        """
        while True:
            try:
                call(STEP)
                return
            except KafkaException as exception:
                if not exception.args[0].retriable():
                    raise
                if request.give_up():
                    raise ClaimGivenUp(request.tags) from exception
            # Not a wait for an event: nothing here can tell that the coordinator is back, and polling is forbidden.
            self._sleep(PAUSE)

    # -- the producer -------------------------------------------------------------------------------------------------

    def _open(self) -> Any:
        """Make the producer; it ends what an earlier one with the same id has left open. Blocks for some round trips."""
        producer = self._new_producer(self._options.transactional_config(self._id))
        try:
            producer.init_transactions(self._options.connect_timeout)
        except KafkaException as exception:
            raise self._explain(exception.args[0], "") from exception
        self._producer = producer
        return producer

    def _drop(self) -> None:
        """Let go of a producer that is of no more use."""
        self._producer = None
        self._partitions.clear()

    def _place(self, producer: Any, write: LogWrite) -> tuple[str, int]:
        """Return topic and partition of a record. Asks the broker once for each log: the number must never change.

        Raises:
            TaskqKafkaError: The log has no topic, or nobody answered.
        """
        topic = self._options.prefix + write.log
        if topic not in self._partitions:
            try:
                found = producer.list_topics(topic, timeout=self._options.connect_timeout)
            except KafkaException as exception:
                raise self._explain(exception.args[0], write.log) from exception
            described = found.topics[topic]
            if described.error is not None:
                raise self._explain(described.error, write.log)
            self._partitions[topic] = len(described.partitions)
        return topic, log_partition(write.route, self._partitions[topic])

    def _explain(self, error: KafkaError, log: str) -> Exception:
        """Return our error; what somebody can act on comes first, for librdkafka calls some of it fatal."""
        code, topic = error.code(), self._options.prefix + log
        if code in UNAUTHORIZED:
            name = (
                topic
                if code == Code.TOPIC_AUTHORIZATION_FAILED
                else f"transactional id {self._id!r}"
            )
            return TopicUnauthorized(name, error.str())
        if code in TOPIC_ABSENT:
            return TopicMissing(topic)
        if code in TOO_LARGE:
            return RecordTooLarge(log, error.str())
        return map_error(error, address=self._options.bootstrap, topic=topic)


def _report(failures: list[KafkaError], error: KafkaError | None, message: object) -> None:
    """Keep what the broker said to a record; that it was purged with its transaction says nothing."""
    if error is not None and error.code() not in (
        Code.LOCAL_PURGE_QUEUE,
        Code.LOCAL_PURGE_INFLIGHT,
    ):
        failures.append(error)


def _say_unknown(request: MoveRequest, error: KafkaError) -> None:
    logger.warning(
        "%s: how a move of %d records ended is not known (%s); partitions %s are taken anew, and the group tells",
        request.topic,
        len(request.writes),
        error.name(),
        sorted(request.states),
        extra={"event": "move.unknown", "topic": request.topic},
    )
