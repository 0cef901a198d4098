"""Transactions of a shard's owner: everything that is due is written at once, or nothing of it.

One thread uses a producer. Between begin and commit nothing is waited for that could be waited for before: an open transaction of
an owner that was killed or frozen holds up all readers of the partitions it wrote to.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaException

from .clientlog import ErrorLog
from .codes import FATAL, TOO_LARGE, Code
from .errors import ClientError, RequestRefused, TaskqKafkaError, map_error
from .forks import new_producer
from .options import TransportOptions

COMMIT_SECONDS: Final = 10.0
"""The broker ends a transaction itself after so long (`transaction.timeout.ms`): longer waiting is in vain."""

ABORT_SECONDS: Final = 5.0

INIT_SECONDS: Final = 15.0
"""Waits for the end of a former owner's transaction: milliseconds, unless the coordinator is just moving."""

NO_TOPIC: Final = "__consumer_offsets"
"""Asked for where only the answer counts: it is everywhere, and small."""

_OF_RECORDS: Final = TOO_LARGE | {
    Code.INVALID_RECORD,
    Code.LOCAL_INVALID_ARG,
    Code.TOPIC_AUTHORIZATION_FAILED,
    Code.TOPIC_EXCEPTION,
}
"""What a broker, or the client, has against single records or their topics. Anything else concerns all that is written. No commit
ends with one of these: the client has not asked for it then."""

Line = tuple[str, int, "bytes | None", "bytes | None", list[tuple[str, "str | bytes | None"]]]
"""Topic, partition (-1: by the key), key, value, headers."""


class Refused(Exception):
    """The transaction was aborted, which the broker has confirmed, because of one of its records.

    Its producer should not be used again: it has counted records that the broker has not.
    """

    def __init__(self, error: TaskqKafkaError, suspects: frozenset[int] = frozenset()) -> None:
        super().__init__(str(error))
        self.error = error
        self.suspects = suspects
        """The numbers of the records that were refused, or stood beside them in a request; empty if that is not known."""


class Broken(Exception):
    """How the transaction ended is unknown, or we were shut out: neither the memory nor the producer is of any more use."""

    def __init__(self, error: TaskqKafkaError) -> None:
        super().__init__(str(error))
        self.error = error


class TransactionalClient:
    """A client under a transactional id."""

    def __init__(self, options: TransportOptions, transactional_id: str) -> None:
        """Make it; nothing is asked before `introduce`."""
        config = options.transactional_config(transactional_id)
        self._error_log: ErrorLog = config["error_cb"]
        self._producer = new_producer(config)

    def introduce(self) -> None:
        """Tell the coordinator; ends whatever was open under the id. Blocks for some milliseconds.

        Raises:
            TaskqKafkaError: There was no answer, or we may not use the id.
        """
        try:
            # Connects. Without it the client finds no connection to the coordinator at once, and looks again half a second later.
            # Twice, because the first answer comes by the connection to the bootstrap address: after it alone one in four waited.
            for _ in range(2):
                self._producer.list_topics(NO_TOPIC, timeout=INIT_SECONDS)
            self._producer.init_transactions(INIT_SECONDS)
        except KafkaException as error:
            self._producer.poll(0)
            raise self._error_log.explain(error) from error

    def topic(self, topic: str, *, timeout: float) -> Any:
        """Return the client's metadata of a topic, which may have an error; blocks for a round trip.

        Also makes the client know it: the first record to it would wait for that inside of its transaction.

        Raises:
            TaskqKafkaError: No broker answered.
        """
        try:
            return self._producer.list_topics(topic, timeout=max(timeout, 0.001)).topics[topic]
        except KafkaException as error:
            self._producer.poll(0)
            raise self._error_log.explain(error, topic=topic) from error

    def explain(self, error: ClientError, topic: str) -> TaskqKafkaError:
        """Return ours for an error that stands in a topic's metadata."""
        return self._error_log.explain(error, topic=topic)

    def write(self, lines: Iterable[Line]) -> None:
        """Write records in one transaction; returns when the broker has committed it.

        If this process dies here, its heir ends the transaction, unless the broker had taken the commit.

        Raises:
            Refused: Nothing was written, because of one of the records.
            Broken: All else.
        """
        produce = self._producer.produce
        suspects: set[int] = set()

        def report(number: int, error: ClientError | None, message: object) -> None:
            if error is not None and error.code() in _OF_RECORDS:
                suspects.add(number)

        number = -1
        ordered = in_order(lines)
        try:
            self._producer.begin_transaction()
            for number, (topic, partition, key, value, headers) in ordered:
                report_it = partial(report, number)
                produce(topic, value, key, partition, report_it, headers=headers)
            self._producer.commit_transaction(COMMIT_SECONDS)
        except KafkaException as error:
            raise self._failed(error, suspects) from error
        except (BufferError, TypeError, ValueError) as error:
            # The client did not take a record; the broker knows nothing of it.
            if self._abort():
                why = RequestRefused(0, type(error).__name__, str(error))
                # A full queue is no fault of the record that found it full.
                suspects = set() if isinstance(error, BufferError) else {number}
                raise Refused(why, frozenset(suspects)) from error
            raise Broken(map_error(error)) from error

    def _failed(self, exception: KafkaException, suspects: set[int]) -> Refused | Broken:
        """Abort, and return what is to be raised."""
        told: Any = exception.args[0]
        error = map_error(exception, topic=_topic_in(told.str()))
        if told.fatal() or told.code() in FATAL:
            return Broken(error)
        # A commit without answer cannot be aborted, as the broker may have taken it; nor is it an error of records.
        is_certain = self._abort()
        if is_certain and told.code() in _OF_RECORDS:
            return Refused(error, frozenset(suspects))
        return Broken(error)

    def _abort(self) -> bool:
        """Abort; return whether the broker has confirmed that nothing of ours is open."""
        try:
            self._producer.abort_transaction(ABORT_SECONDS)
        except KafkaException as error:
            # Of a transaction whose partitions were refused before the first one was entered the broker knows nothing.
            return bool(error.args[0].code() == Code.INVALID_TXN_STATE)
        return True


def _topic_in(text: str) -> str:
    """Return the topic that a text of librdkafka is about, where it names one: `ProduceRequest for T [0] with 1 message failed`."""
    _, found, rest = text.partition("for ")
    return rest.split(" ", 1)[0] if found else ""


def in_order(lines: Iterable[Line]) -> list[tuple[int, Line]]:
    """Return records with their numbers, the first of each partition before all others.

    The client tells the coordinator at once which partitions it has seen so far, one request after the other.
    """
    seen: set[tuple[str, int]] = set()
    first: list[tuple[int, Line]] = []
    rest: list[tuple[int, Line]] = []
    for numbered in enumerate(lines):
        place = numbered[1][:2]
        if place in seen:
            rest.append(numbered)
        else:
            seen.add(place)
            first.append(numbered)
    return first + rest
