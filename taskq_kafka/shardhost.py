"""A host of shards: joins the group, takes leases, reads its shards and fires what is due. One thread is in `run`.

The rules, which docs/decisions/0017-one-producer-an-owner.md gives reasons for:

- A shard is opened in this order, without a poll in between: shut out the owner that its lease names, commit the own lease, read
  the partition from its beginning. It fires after its end was reached once, with what stood behind open transactions of others.
- All that is due in all shards goes into one transaction. One that was aborted for a record's sake is tried in halves, until the
  record stands alone and is given up. After any other failure all shards are forgotten and opened anew, and a producer that may be
  shut out is never used again, nor is its id.
- A poll is never longer than `LOOK_EVERY`, as nothing but time ends it: so soon are `stop` and `wake` heard.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

from .admin import Admin
from .backoff import Backoff
from .clientlog import LOG_INTERVAL
from .codes import UNAUTHORIZED
from .errors import (
    COMMIT_REFUSED,
    LogUnfit,
    RequestRefused,
    TaskqKafkaError,
    TopicInvalid,
    TopicMissing,
    TopicUnauthorized,
)
from .groups import Groups
from .lease import RELEASED, NewerLease, lease_of, owner_in
from .logrecords import LogRecord
from .logtopics import ACLS
from .options import TransportOptions
from .shardloader import ShardLoader
from .shardmember import ShardMember
from .shardset import (
    Due,
    Firing,
    OpenShard,
    Shard,
    ShardSet,
    ShardStatus,
    batches,
    parts,
    settle,
    take,
)
from .shared import shared
from .topics import TIMERS, dlq_topic, topic_of
from .transactions import Broken, Line, Refused, TransactionalProducer, shut_out
from .watchdog import Replacements

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 0.05
"""Seconds of the longest poll."""

BUSY_LOOK: Final = 0.002
"""Seconds of a poll while single records are being fetched, which come by another client."""

FRUITLESS: Final = 0.005
"""Seconds of a poll after a shard had said that something is due and then had nothing."""

MOST_FIRINGS: Final = 500
"""In one transaction: enough that what it costs is spread thin, few enough that it takes milliseconds."""

MOST_BYTES: Final = 500_000
"""To one partition in one transaction, so that it is one batch (librdkafka's `batch.size` is a million): with two of them in flight
the second may be taken and the first refused, which the client would not see."""

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0
"""Seconds between two tries to open shards while that fails."""

FIRST_REST: Final = 30.0
LONGEST_REST: Final = 600.0
"""Seconds until a shard is opened anew that has a firing of which not even the letter could be written."""

FORBIDDEN_SECONDS: Final = 10.0
"""For which a queue counts as one we may not write to, without another try."""

UNMADE_SECONDS: Final = 30.0
"""Until a queue is tried again that could not be made: too few brokers are up, a quota, a policy."""

HANGING_SECONDS: Final = 60.0
"""After which a transaction that holds up a shard is ended by nobody: the broker ends ours after 10 to 20."""

LONG_HOLD: Final = 0.5
"""Seconds of shutting out a former owner that are said in the log."""


class ShardHost:
    """One member of a group of hosts of one log."""

    def __init__(
        self,
        options: TransportOptions,
        log: str,
        group: str,
        open_shard: Callable[[int], Shard],
        *,
        now_ms: Callable[[], int],
        check: Callable[[], None],
    ) -> None:
        """Build it; nothing is connected before `run`.

        Args:
            options: The connection's options.
            log: The log's name.
            group: The group of hosts, without prefix. It also begins their transactional ids.
            open_shard: Makes the shard of a partition, empty.
            now_ms: The clock by which things are due, in whole milliseconds since 1970, rounded down.
            check: Raises if the log cannot be used.
        """
        self._options = replace(options, group=group)
        self._ask = partial(shared, Admin, options)
        self._log = log
        self._topic = topic_of(options.prefix, log)
        self._letters_topic = dlq_topic(options.prefix, TIMERS)
        self._open_shard = open_shard
        self._now_ms = now_ms
        self._check = check
        self._shards = ShardSet()
        self._loader = ShardLoader(options, self._topic)
        self._member: ShardMember | None = None
        self._join_at = 0.0
        self._replacements = Replacements()
        self._producer: TransactionalProducer | None = None
        self._shut_out: set[str] = set()
        """Transactional ids of former owners that can commit no more."""
        self._open_at = 0.0
        self._open_backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        self._newer: set[int] = set()
        """Partitions whose lease is of a newer version."""
        self._resting: dict[int, float] = {}
        self._rest_backoff = Backoff(FIRST_REST, LONGEST_REST)
        self._forbidden: dict[str, tuple[float, TaskqKafkaError]] = {}
        """Queues that we may not write to, or that could not be made, as far as was seen lately; until when, and how the broker put
        it."""
        self._was_ready = False
        self._is_fruitless = False
        self._said_at: float | None = None
        self._stopping = threading.Event()
        self._woken = threading.Event()

    # -- what any thread may call -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let `run` return soon."""
        self._stopping.set()

    def wake(self) -> None:
        """Let it ask its shards at once, also those that said they have nothing yet."""
        self._woken.set()

    def status(self) -> ShardStatus:
        """Return its place."""
        member = self._member
        return self._shards.status(member=member is not None and member.was_told)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Join the group and fire what is due until `stop` is called; then let go of the shards and leave.

        Once it runs it lasts: while the broker is away it waits; what fails is said in the log, and begun anew. If the process dies
        in the middle of a transaction, the heir of its shards ends that.

        Raises:
            ConnectionError: No broker answered within `connect_timeout` seconds at the start.
            ValueError: The log cannot be used: see `Logs.check`; or we have not the rights on group or transactional ids.
        """
        self._check()
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._close()

    def _turn(self) -> None:
        try:
            member = self._joined()
            if member is None:
                self._stopping.wait(LOOK_EVERY)
                return
            messages = member.poll(self._patience())
            self._take_in(member, messages)
            self._say_hanging()
            self._open_missing(member)
            self._fire_due()
        except LogUnfit:
            raise
        except Broken as failure:
            self._begin_anew(failure.error)
        except TaskqKafkaError as error:
            self._begin_anew(error)
        except KafkaException as error:
            self._begin_anew(self._explained(error))
        except Exception:
            logger.exception(
                "%s: a failure that nobody thought of; all shards are opened anew",
                self._topic,
                extra={"event": "shards.error", "log": self._log},
            )
            self._forget_all()
            self._replace("it failed")

    def _joined(self) -> ShardMember | None:
        """Return the member, made anew if it has to be; None while that has to wait."""
        if self._member is not None and self._member.replace_because:
            self._replace(self._member.replace_because)
        if self._member is None and time.monotonic() >= self._join_at:
            groups = shared(Groups, self._options)
            self._member = ShardMember(
                self._options,
                self._topic,
                groups,
                on_revoke=self._release,
                on_lost=self._lose,
            )
        return self._member

    def _replace(self, why: str) -> None:
        """Leave the group; `_joined` makes the next member."""
        wait = self._replacements.wait(time.monotonic())
        logger.warning(
            "%s: replacing the consumer of the group %s (%s)%s",
            self._topic,
            self._options.group,
            why,
            f"; joins again in {wait:.0f} s, as it was replaced before" if wait else "",
            extra={"event": "shards.replaced", "log": self._log, "wait": wait},
        )
        self._join_at = time.monotonic() + wait
        self._leave()

    def _leave(self) -> None:
        member = self._member
        if member is None:
            return
        if len(self._shards) and member.answers():
            # Not while the broker is away: a commit would wait for its return. Without it the heir shuts us out.
            self._release(list(self._shards.partitions))
        self._forget_all()
        self._newer.clear()
        self._member = None
        with suppress(KafkaException):
            member.close()

    def _close(self) -> None:
        self._leave()
        self._loader.close()
        self._producer = None

    # -- reading ------------------------------------------------------------------------------------------------------

    def _patience(self) -> float:
        """Return how long to wait for records now, in seconds."""
        if self._woken.is_set():
            return 0.0
        wait = BUSY_LOOK if self._loader.is_busy else LOOK_EVERY
        due = self._shards.next_due()
        if due is None:
            return wait
        left = max(0.0, (due - self._now_ms()) / 1000)
        return min(wait, max(left, FRUITLESS) if self._is_fruitless else left)

    def _take_in(self, member: ShardMember, messages: Sequence[Message]) -> None:
        """Apply what a poll returned; what belongs to no open shard was fetched before its partition went away."""
        if not messages:
            member.watch(self._shards.positions())
        for message in messages:
            error = message.error()
            if error is not None:
                self._take_event(member, message, error)
                continue
            owner = self._shards.get(message.partition())
            if owner is not None:
                record = LogRecord(message)
                owner.position = record.offset + 1
                owner.shard.apply(record)

    def _take_event(self, member: ShardMember, message: Message, error: KafkaError) -> None:
        owner = self._shards.get(message.partition())
        if error.code() == KafkaError._PARTITION_EOF:
            if owner is not None:
                owner.position = max(owner.position, message.offset() or 0)
                if not owner.ready:
                    self._note_end(member, owner, message.offset() or 0)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            if owner is not None:
                self._forget(member, [owner.partition])
        else:
            self._refuse_if_new(error)
            member.accept(error)

    def _note_end(self, member: ShardMember, owner: OpenShard, offset: int) -> None:
        """Let a shard fire once all is read that stood in its partition when it was opened.

        A `read_committed` reader also stops where somebody else's transaction is open: behind that may stand what a former owner
        has fired.
        """
        if owner.end is None:
            owner.end = member.written_until(owner.partition)
            if offset < owner.end:
                owner.held_at = time.monotonic()
                logger.warning(
                    "%s [%d]: somebody else's open transaction hides the end of the log; nothing is sent from here until it ends",
                    self._topic,
                    owner.partition,
                    extra={
                        "event": "shards.held_up",
                        "log": self._log,
                        "partition": owner.partition,
                    },
                )
        if offset >= owner.end:
            owner.held_at = None
            owner.ready = self._was_ready = True
            logger.debug("%s [%d] is read to its end", self._topic, owner.partition)

    def _say_hanging(self) -> None:
        """Say, once for each shard, that a transaction which holds it up will not end by itself."""
        now = time.monotonic()
        for owner in self._shards.held_longer_than(HANGING_SECONDS, now):
            owner.held_at = None
            logger.error(
                "%s [%d]: the transaction that hides its end is open for %.0f s: it hangs, and nothing is sent from here; "
                "find it and abort it with Kafka's kafka-transactions.sh",
                self._topic,
                owner.partition,
                HANGING_SECONDS,
                extra={"event": "shards.held_up", "log": self._log, "partition": owner.partition},
            )

    # -- opening and closing shards -----------------------------------------------------------------------------------

    def _open_missing(self, member: ShardMember) -> None:
        """Open the shards that are ours and are not open. Blocks for some milliseconds if there are any."""
        now = time.monotonic()
        for partition in [each for each, until in self._resting.items() if until <= now]:
            del self._resting[partition]
            self._forget(member, [partition])
        closed = member.assigned - set(self._shards.partitions) - self._newer
        if not closed or now < self._open_at:
            return
        try:
            self._open(member, closed)
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            self._refuse_if_new(error)
            if error.code() not in COMMIT_REFUSED:
                raise
            # Somebody else's, or about to be: the next polls tell.
            logger.debug("%s: no lease of %s: %s", self._topic, sorted(closed), error)
            self._open_at = now + self._open_backoff.next()
        except TopicUnauthorized as error:
            if not self._was_ready:
                raise LogUnfit(self._log, self._topic, f"{error.why}; {ACLS}") from error
            raise
        else:
            self._open_at = 0.0

    def _open(self, member: ShardMember, partitions: Iterable[int]) -> None:
        """Take leases, and begin to read.

        Raises:
            KafkaException: The group refuses us, or did not answer.
            TaskqKafkaError: A producer could not be made.
        """
        producer = self._live_producer()
        former: dict[str, list[int]] = {}
        mine = []
        for partition, metadata in member.leases(partitions).items():
            try:
                owner = owner_in(metadata)
            except NewerLease:
                self._leave_alone(partition)
                continue
            mine.append(partition)
            if owner is not None and owner != producer.id and owner not in self._shut_out:
                former.setdefault(owner, []).append(partition)
        for owner, held in former.items():
            self._shut_out_owner(member, owner, held)
        if not mine:
            return
        member.write_leases(dict.fromkeys(mine, lease_of(producer.id)))
        for partition in mine:
            self._shards.open(partition, self._open_shard(partition))
        member.begin(mine)
        logger.info(
            "%s: this process owns the partitions %s",
            self._topic,
            ", ".join(map(str, self._shards.partitions)),
            extra={"event": "shards.opened", "log": self._log, "partitions": sorted(mine)},
        )

    def _live_producer(self) -> TransactionalProducer:
        """Return the producer, made if there is none, always under a new id: whoever shuts one out does so once and for all."""
        if self._producer is None:
            name = f"{self._options.prefix}{self._options.group}-{uuid.uuid4()}"
            self._producer = TransactionalProducer(self._options, name)
        return self._producer

    def _shut_out_owner(self, member: ShardMember, owner: str, partitions: list[int]) -> None:
        """Keep a former owner from ever committing again, and end what it has open."""
        held = member.open_transactions(partitions)
        begun = time.monotonic()
        shut_out(self._options, owner)
        self._shut_out.add(owner)
        seconds = time.monotonic() - begun
        logger.log(
            logging.WARNING if held else logging.INFO,
            "%s: took over %s from an owner that did not release them%s%s",
            self._topic,
            ", ".join(map(str, sorted(partitions))),
            "; its open transaction held up all readers behind it and was ended" if held else "",
            f" ({seconds:.1f} s)" if seconds >= LONG_HOLD else "",
            extra={
                "event": "shards.taken_over",
                "log": self._log,
                "partitions": sorted(partitions),
                "held": held,
                "seconds": seconds,
            },
        )

    def _leave_alone(self, partition: int) -> None:
        self._newer.add(partition)
        logger.error(
            "%s [%d]: its owner was a newer version of taskq; it is left alone here: upgrade this process",
            self._topic,
            partition,
            extra={"event": "shards.newer_format", "log": self._log},
        )

    def _release(self, partitions: list[int]) -> None:
        """Called inside a poll: partitions are given up. Nothing of ours is open, so the heir need not shut us out."""
        self._newer.difference_update(partitions)
        gone = self._drop(partitions)
        member = self._member
        if not gone or member is None:
            return
        try:
            member.write_leases(dict.fromkeys(gone, RELEASED))
        except KafkaException as error:
            logger.debug("%s: could not release %s: %s", self._topic, gone, error)
            return
        logger.info(
            "%s: released the partitions %s",
            self._topic,
            ", ".join(map(str, gone)),
            extra={"event": "shards.released", "log": self._log, "partitions": gone},
        )

    def _lose(self, partitions: list[int]) -> None:
        """Called inside a poll: partitions are somebody else's by now, who has shut us out, or is about to."""
        self._newer.difference_update(partitions)
        gone = self._drop(partitions)
        if gone:
            self._producer = None
            logger.warning(
                "%s: lost the partitions %s",
                self._topic,
                ", ".join(map(str, gone)),
                extra={"event": "shards.lost", "log": self._log, "partitions": gone},
            )

    def _drop(self, partitions: Iterable[int]) -> list[int]:
        gone = self._shards.forget(partitions)
        self._loader.forget(gone)
        for partition in gone:
            self._resting.pop(partition, None)
        return gone

    def _forget(self, member: ShardMember, partitions: Iterable[int]) -> None:
        """Drop the memory of shards that are still ours; they will be opened anew."""
        member.end(self._drop(partitions))

    def _forget_all(self) -> None:
        """Drop the memory of all shards, and the producer."""
        self._producer = None
        if self._member is None:
            self._drop(self._shards.partitions)
        else:
            self._forget(self._member, self._shards.partitions)

    def _begin_anew(self, error: TaskqKafkaError) -> None:
        """Open all shards anew after a failure: what is in memory may not be what stands in the log."""
        now = time.monotonic()
        self._forget_all()
        self._open_at = now + self._open_backoff.next()
        if self._said_at is None or now - self._said_at >= LOG_INTERVAL:
            self._said_at = now
            logger.warning(
                "%s: %s; the shards are opened anew, what is due comes later",
                self._topic,
                error,
                extra={"event": "shards.reopened", "log": self._log},
            )

    # -- firing -------------------------------------------------------------------------------------------------------

    def _fire_due(self) -> None:
        """Write what is due, and ask for the records of what is due soon."""
        is_woken = self._woken.is_set()
        self._woken.clear()
        now_ms = self._now_ms()
        asked = self._shards.asked(now_ms, all_of_them=is_woken)
        for owner in asked:
            self._loader.want(owner.partition, owner.shard.wanted(now_ms))
        for partition, records in self._loader.step().items():
            loaded = self._shards.get(partition)
            if loaded is not None:
                loaded.shard.load(records)
                if loaded not in asked:
                    asked.append(loaded)
        due = take(asked, now_ms, MOST_FIRINGS)
        self._is_fruitless = bool(asked) and not due
        if not due:
            return
        self._fire(due)

    def _fire(self, due: Sequence[Due]) -> None:
        """Write firings, as many as fit in one transaction; put aside what cannot be written.

        Raises:
            Broken: It is not known what was written.
            TaskqKafkaError: No broker answered.
        """
        good = []
        for each in due:
            refusal = self._refusal(each.firing)
            if refusal is None:
                good.append(each)
            elif isinstance(refusal, RequestRefused):
                self._postpone(each, refusal)
            else:
                self._give_up(each, refusal)
        for batch in batches(good, MOST_BYTES):
            self._try(batch)

    def _try(self, due: Sequence[Due]) -> None:
        try:
            self._write(due)
        except Refused as refused:
            # The abort is confirmed: nothing was written, so the memory is right, and only time is lost.
            self._renew()
            if len(due) == 1:
                error = self._note_rights(due[0].firing, refused.error)
                self._give_up(due[0], error)
                return
            owners = [place for place, each in enumerate(due) for _ in self._lines(each)]
            for part in parts(due, {owners[number] for number in refused.suspects}):
                self._fire(part)

    def _renew(self) -> None:
        """Go on with a new producer; the shards in memory stay.

        Raises:
            KafkaException: They are not ours any more, or there was no answer.
            TaskqKafkaError: The producer could not be made.
        """
        self._producer = None
        producer, member = self._live_producer(), self._member
        if member is not None and len(self._shards):
            lease = lease_of(producer.id)
            member.write_leases(dict.fromkeys(self._shards.partitions, lease))

    def _note_rights(self, firing: Firing, error: TaskqKafkaError) -> TaskqKafkaError:
        """Remember a queue that we may not write to: the next ones to it need not be tried. Returns the error that names it."""
        queues = {message.queue for message in firing.messages}
        if not isinstance(error, TopicUnauthorized) or len(queues) != 1:
            return error
        (queue,) = queues
        named = TopicUnauthorized(topic_of(self._options.prefix, queue), error.why)
        self._forbidden[queue] = (time.monotonic() + FORBIDDEN_SECONDS, named)
        return named

    def _give_up(self, due: Due, error: TaskqKafkaError) -> None:
        """Put what cannot be fired aside, as a letter."""
        letter = due.owner.shard.give_up(due.firing, "refused", str(error))
        refusal = self._refusal(letter)
        if refusal is None:
            try:
                self._write([Due(due.owner, letter)])
                return
            except Refused as refused:
                refusal = refused.error
                self._renew()
        self._rest(due, refusal)

    def _rest(self, due: Due, error: TaskqKafkaError) -> None:
        """Leave a firing for later of which not even the letter could be written; the others of its shard go on."""
        partition = due.owner.partition
        wait = self._rest_backoff.next()
        self._resting.setdefault(partition, time.monotonic() + wait)
        logger.error(
            "%s [%d]: %s cannot be sent, nor put aside as a letter: %s; tried again in %.0f s",
            self._topic,
            partition,
            due.firing.name,
            error,
            wait,
            extra={"event": "shards.stuck", "log": self._log, "partition": partition},
        )

    def _postpone(self, due: Due, error: TaskqKafkaError) -> None:
        """Leave a firing for later whose queue cannot be made now, which is no fault of its own; the others of its shard go on."""
        partition = due.owner.partition
        if partition in self._resting:
            return
        self._resting[partition] = time.monotonic() + UNMADE_SECONDS
        logger.error(
            "%s [%d]: %s, and perhaps others, cannot be sent now, as a topic could not be made: %s; tried again in %.0f s",
            self._topic,
            partition,
            due.firing.name,
            error,
            UNMADE_SECONDS,
            extra={"event": "shards.stuck", "log": self._log, "partition": partition},
        )

    def _write(self, due: Sequence[Due]) -> None:
        producer = self._producer
        if producer is None:  # lost inside a poll, with all shards
            raise Broken(RequestRefused(0, "lost", "the shards are not ours"))
        lines = [line for each in due for line in self._lines(each)]
        for topic in {topic for topic, *_ in lines}:
            is_known = producer.knows(topic)
            if not is_known and not producer.look_up(topic, timeout=self._options.connect_timeout):
                raise Broken(TopicMissing(topic))
        producer.write(lines)
        self._open_backoff.reset()
        if not self._resting:
            self._rest_backoff.reset()
        settle(due)

    def _lines(self, due: Due) -> Iterable[Line]:
        firing, prefix = due.firing, self._options.prefix
        for message in firing.messages:
            topic = topic_of(prefix, message.queue)
            yield topic, -1, message.key, message.value, list(message.headers)
        for key, value in firing.writes:
            yield self._topic, due.owner.partition, key, value, []
        for letter in firing.letters:
            yield self._letters_topic, -1, letter.key, letter.value, list(letter.headers)

    def _refusal(self, firing: Firing) -> TaskqKafkaError | None:
        """Return why a firing cannot be written, as far as its topics tell; missing ones are made, if that is allowed.

        Raises:
            TaskqKafkaError: No broker answered.
        """
        timeout = self._options.connect_timeout
        try:
            for queue in {message.queue for message in firing.messages}:
                until, forbidden = self._forbidden.get(queue, (0.0, None))
                if forbidden is not None and time.monotonic() < until:
                    return forbidden
                make = partial(self._ask().create_queue, queue, timeout=timeout)
                try:
                    self._make_sure(topic_of(self._options.prefix, queue), make)
                except RequestRefused as error:
                    # Not asked again for each of many that are due.
                    self._forbidden[queue] = (time.monotonic() + UNMADE_SECONDS, error)
                    return error
            if firing.letters:
                make = partial(self._ask().create_dead_letter_topic, TIMERS, timeout=timeout)
                self._make_sure(self._letters_topic, make)
        except (TopicMissing, TopicUnauthorized, TopicInvalid, RequestRefused) as error:
            return error
        return None

    def _make_sure(self, topic: str, create: Callable[[], None]) -> None:
        producer = self._producer
        if producer is None or producer.knows(topic):
            return
        timeout = self._options.connect_timeout
        if producer.look_up(topic, timeout=timeout):
            return
        if not self._options.auto_create:
            raise TopicMissing(topic)
        create()
        producer.look_up(topic, timeout=timeout)

    # -- errors -------------------------------------------------------------------------------------------------------

    def _explained(self, exception: KafkaException) -> TaskqKafkaError:
        member = self._member
        if member is None:
            return RequestRefused(0, "KafkaException", str(exception))
        return member.explain(exception)

    def _refuse_if_new(self, error: KafkaError) -> None:
        """Raise if we lack a right and have never been of use: somebody starts us, and should hear of it at once."""
        if error.code() in UNAUTHORIZED and not self._was_ready:
            raise LogUnfit(self._log, self._topic, f"{error.str()}; {ACLS}")
