"""Taking dead letters out of their topic, exactly once: a record to its queue and the letter's tombstone in one transaction.

The log is the truth: what stands in the topic is still to be done, and nothing else is remembered. A fixed transactional id a queue
makes the newest mover the only one, and ends what a killed one had left open. One thread owns a mover; every call blocks.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Sequence
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException

from .clientlog import ErrorLog
from .codes import FENCED, TOO_LARGE, UNAUTHORIZED, Code
from .deadletters import StoredDeadLetter
from .errors import HandleDead, TopicMissing, map_error
from .forks import new_producer
from .letterreader import LetterReader
from .options import TransportOptions
from .questions import Questions
from .records import HeaderList
from .topicmaker import TopicMaker
from .topics import dlq_topic, topic_of

ABORT_TIMEOUT: Final = 5.0
"""Seconds for the end of a transaction that failed. It ends without us too, but holds back readers until then."""


REPORTS_TIMEOUT: Final = 1.0
"""Seconds for the reports of a transaction that failed: they say why."""


ATTEMPTS: Final = 3
"""Of a transaction that met nothing but a gap in the client's sequence numbers: records that were purged with the one before it
had some. After the abort the client counts anew."""


class SequenceSkipped(HandleDead):
    """A transaction was aborted for such a gap."""


class ReturnedRecord(Protocol):
    """A record that goes back to a queue."""

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
    def headers(self) -> HeaderList:
        """Headers, as bytes."""


class Letter(Protocol):
    """A dead letter as it was read."""

    @property
    def id(self) -> str:
        """Its key, as text."""

    @property
    def partition(self) -> int:
        """Where it stands in its topic."""


class Removal(Protocol):
    """What is to be done with one dead letter."""

    @property
    def letter(self) -> Letter:
        """The letter, which gets a tombstone."""

    @property
    def note(self) -> Sequence[tuple[str, bytes]]:
        """The tombstone's headers."""

    @property
    def record(self) -> ReturnedRecord | None:
        """What is written in its place."""


def transactional_id(prefix: str, queue: str) -> str:
    """Return the id under which a queue's dead letters are moved: whoever has it last has it alone."""
    return f"{prefix}taskq-redrive-{queue}"


class Mover:
    """Moves the dead letters of one queue."""

    def __init__(
        self,
        options: TransportOptions,
        questions: Questions,
        letters: LetterReader,
        topics: TopicMaker,
        *,
        queue: str,
    ) -> None:
        """Prepare; nothing is fenced before `open`.

        Args:
            options: The connection's options.
            questions: Asks the brokers.
            letters: Reads them.
            topics: Makes a queue that is missing.
            queue: Whose dead letters are moved.
        """
        self._options = options
        self._questions = questions
        self._letters = letters
        self._topics = topics
        self._queue = queue
        self._dead = dlq_topic(options.prefix, queue)
        self._new_producer()
        self._ready: dict[str, str] = {}
        self._failed: list[Any] = []
        """Errors of delivery reports, of the transaction under way."""

    def _new_producer(self) -> None:
        id = transactional_id(self._options.prefix, self._queue)
        config = self._options.moving_config(id)
        self._error_log: ErrorLog = config["error_cb"]
        self._producer = new_producer(config)
        self._is_dead = False

    def open(self, *, timeout: float) -> None:
        """End what an earlier mover left, and its power; afterwards this one is the only one.

        Raises:
            TaskqKafkaError: The broker did not answer in time, or we may not.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._producer.init_transactions(max(0.001, deadline - time.monotonic()))
                return
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() >= deadline:
                    raise self._error_log.explain(error) from error

    def letters(self, *, timeout: float) -> list[StoredDeadLetter]:
        """Return the letters that stand, oldest first.

        Raises:
            TransactionOpen: Another program's transaction hides the end of the topic.
            TaskqKafkaError: The broker did not answer in time.
        """
        return self._letters.read(self._queue, timeout=timeout, must_be_all=True)

    def move(self, removals: Sequence[Removal], *, timeout: float) -> bool:
        """Write records and tombstones in one transaction.

        Returns:
            False: another mover of this queue has taken over, and this one is of no more use.

        Raises:
            RecordTooLarge: Nothing of it stands.
            TaskqKafkaError: The broker refused it, and nothing stands; or it did not answer, and it is unknown.
        """
        deadline = time.monotonic() + timeout
        for queue in {each.record.queue for each in removals if each.record is not None}:
            self._prepare(queue, deadline)
        if self._is_dead:
            removals = self._begin_anew(removals, timeout)
        for _ in range(ATTEMPTS):
            try:
                return self._transact(removals, deadline)
            except SequenceSkipped as error:
                skipped = error
        raise skipped

    def _transact(self, removals: Sequence[Removal], deadline: float) -> bool:
        """Write all of it in one transaction; see `move`.

        Raises:
            SequenceSkipped: It was aborted for what an earlier one has left in the client; the same may succeed now.
        """
        self._failed.clear()
        try:
            self._producer.begin_transaction()
            for each in removals:
                self._write(each)
            self._producer.flush(max(0.001, deadline - time.monotonic()))
            self._commit(deadline)
        except (KafkaException, SystemError) as error:
            return self._give_up(error)
        except BaseException:
            self._abort()
            raise
        return True

    def close(self) -> None:
        """Let go of the connections. Nothing is waited for: what was under way was concluded, or is another's by now."""
        with warnings.catch_warnings():
            # Of one that was fenced the client says that it could not abort.
            warnings.simplefilter("ignore", RuntimeWarning)
            self._producer.close()

    def _begin_anew(self, removals: Sequence[Removal], timeout: float) -> Sequence[Removal]:
        """Take a new client in place of one that has died, and return what is still to be done: another may have been here."""
        self.close()
        self._new_producer()
        self.open(timeout=timeout)
        standing = {letter.id for letter in self.letters(timeout=timeout)}
        return [each for each in removals if each.letter.id in standing]

    def _prepare(self, queue: str, deadline: float) -> None:
        """Find the topic of a queue, once, and make it where that is allowed."""
        if queue in self._ready:
            return
        topic = topic_of(self._options.prefix, queue)
        if not self._questions.partitions(topic, deadline - time.monotonic()):
            if not self._options.auto_create:
                raise TopicMissing(topic)
            self._topics.create_queue(queue, timeout=deadline - time.monotonic())
        self._ready[queue] = topic

    def _write(self, removal: Removal) -> None:
        """Hand over the record, and the tombstone to the partition that the letter was read from."""
        record, letter = removal.record, removal.letter
        headers: Any
        if record is not None:
            headers = list(record.headers)
            self._producer.produce(
                self._ready[record.queue],
                record.value,
                record.key,
                headers=headers,
                on_delivery=self._report,
            )
        headers = list(removal.note)
        self._producer.produce(
            self._dead,
            None,
            letter.id.encode(errors="surrogateescape"),
            partition=letter.partition,
            headers=headers,
            on_delivery=self._report,
        )

    def _report(self, error: Any, message: object) -> None:
        if error is not None:
            self._failed.append(error)

    def _commit(self, deadline: float) -> None:
        """Commit, as often as the client says that it may be asked again."""
        while True:
            try:
                self._producer.commit_transaction(max(0.001, deadline - time.monotonic()))
                return
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() >= deadline:
                    raise

    def _give_up(self, error: KafkaException | SystemError) -> bool:
        """Return False where another mover is the cause; else raise what is, with the transaction ended."""
        told = _told(error)
        self._is_dead = told.fatal() or told.code() == Code.LOCAL_FATAL
        codes = {told.code(), *self._last_words()}
        if not FENCED.isdisjoint(codes):
            return False
        # One record that was refused has the whole transaction fail, and the records behind it.
        refused = [each for each in self._failed if each.code() in TOO_LARGE | UNAUTHORIZED]
        if refused:
            raise map_error(refused[0], topic=self._queue) from error
        if told.code() == Code.OUT_OF_ORDER_SEQUENCE_NUMBER and not self._is_dead:
            raise SequenceSkipped(told.code(), told.name(), told.str()) from error
        raise self._error_log.explain(told, topic=self._queue) from error

    def _last_words(self) -> set[int]:
        """End the transaction that failed, and return the codes of all that is told of it meanwhile.

        A call that meets a client which died a moment ago is told that it is dead; only others are told of what.
        """
        codes: set[int] = set()
        for end in (
            lambda: self._producer.flush(REPORTS_TIMEOUT),
            lambda: self._producer.abort_transaction(ABORT_TIMEOUT),
        ):
            try:
                end()
            except (KafkaException, SystemError) as error:
                codes.add(_told(error).code())
        return codes | {each.code() for each in self._failed}

    def _abort(self) -> None:
        with contextlib.suppress(KafkaException):
            self._producer.abort_transaction(ABORT_TIMEOUT)


def _told(error: BaseException) -> Any:
    """Return the client's error.

    Of a fatal one the client raises from within a poll, and Python makes a SystemError of it if a callback of ours runs afterwards;
    at times it fails so without any error, and then only that the client is dead is known.
    """
    found: BaseException | None = error
    while found is not None:
        told = found.args[0] if found.args else None
        if hasattr(told, "code"):
            return told
        found = found.__cause__ or found.__context__
    return KafkaError(KafkaError._FATAL, str(error), fatal=True)
