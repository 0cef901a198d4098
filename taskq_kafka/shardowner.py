"""Makes partitions of a log a host's own, and lets go of them: leases, shutting out former owners, the memory of shards.

A shard is opened in this order, without a poll in between: shut out the owner that its lease names, commit the own lease, read the
partition from its beginning. docs/decisions/0017-one-producer-an-owner.md gives the reasons.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from .backoff import Backoff
from .codes import UNAUTHORIZED
from .errors import COMMIT_REFUSED, LogUnfit, TopicUnauthorized
from .lease import RELEASED, NewerLease, lease_of, owner_in
from .logtopics import ACLS
from .options import TransportOptions
from .restingshards import RestingShards
from .shardloader import ShardLoader
from .shardmember import ShardMember
from .shardproducer import ShardProducer
from .shardset import Shard, ShardSet
from .transactionalproducer import shut_out

logger = logging.getLogger(__name__)

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0
"""Seconds between two tries to open shards while that fails."""

LONG_HOLD: Final = 0.5
"""Seconds of shutting out a former owner that are said in the log."""


class ShardOwner:
    """Of one host; its thread calls it, inside of polls too."""

    def __init__(
        self,
        options: TransportOptions,
        log: str,
        topic: str,
        open_shard: Callable[[int], Shard],
        *,
        shards: ShardSet,
        loader: ShardLoader,
        producer: ShardProducer,
        resting: RestingShards,
        shut_out: Callable[[TransportOptions, str], None] = shut_out,
        make_backoff: Callable[[float, float], Backoff] = Backoff,
    ) -> None:
        """Begin with nothing open.

        Args:
            options: The connection's, with the host's group.
            log: The log's name.
            topic: Its topic.
            open_shard: Makes the shard of a partition, empty.
            shards: Where those that are open stand.
            loader: Told what is not wanted any more.
            producer: Its id stands in the leases.
            resting: Says which are to be opened anew.
            shut_out: Keeps a former owner, by its transactional id, from ever committing again.
            make_backoff: Makes the waits between tries, from the first and the longest.
        """
        self._log = log
        self._topic = topic
        self._open_shard = open_shard
        self._shards = shards
        self._loader = loader
        self._producer = producer
        self._resting = resting
        self._end_owner = partial(shut_out, options)
        self._shut_out: set[str] = set()
        """Transactional ids of former owners that can commit no more."""
        self._open_at = 0.0
        self._backoff = make_backoff(FIRST_WAIT, LONGEST_WAIT)
        self._newer: set[int] = set()
        """Partitions whose lease is of a newer version."""
        self.member: ShardMember | None = None
        """The host's present one."""

    # -- taking -------------------------------------------------------------------------------------------------------

    def open_missing(self, member: ShardMember) -> None:
        """Open the shards that are ours and are not open. Blocks for some milliseconds if there are any.

        Raises:
            LogUnfit: We lack a right, and have never been of use.
            KafkaException: The group did not answer.
            TaskqKafkaError: A producer could not be made.
        """
        now = time.monotonic()
        for partition in self._resting.take_rested(now):
            self.forget([partition])
        closed = member.assigned - set(self._shards.partitions) - self._newer
        if not closed or now < self._open_at:
            return
        try:
            self._open(member, closed)
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            self.refuse_if_new(error)
            if error.code() not in COMMIT_REFUSED:
                raise
            # Somebody else's, or about to be: the next polls tell.
            logger.debug("%s: no lease of %s: %s", self._topic, sorted(closed), error)
            self._open_at = now + self._backoff.next()
        except TopicUnauthorized as error:
            if not self._shards.was_ready:
                raise LogUnfit(self._log, self._topic, f"{error.why}; {ACLS}") from error
            raise
        else:
            self._open_at = 0.0

    def refuse_if_new(self, error: KafkaError) -> None:
        """Raise if we lack a right and have never been of use: somebody starts us, and should hear of it at once.

        Raises:
            LogUnfit: It is so.
        """
        if error.code() in UNAUTHORIZED and not self._shards.was_ready:
            raise LogUnfit(self._log, self._topic, f"{error.str()}; {ACLS}")

    def renew(self) -> None:
        """Go on with a new producer; the shards in memory stay.

        Raises:
            KafkaException: They are not ours any more, or there was no answer.
            TaskqKafkaError: The producer could not be made.
        """
        self._producer.drop()
        producer = self._producer.live()
        if self.member is not None and len(self._shards):
            lease = lease_of(producer.id)
            self.member.write_leases(dict.fromkeys(self._shards.partitions, lease))

    def note_written(self) -> None:
        """Note that something could be written: the next wait after a failure is short again."""
        self._backoff.reset()

    def _open(self, member: ShardMember, partitions: Iterable[int]) -> None:
        """Take leases, and begin to read.

        Raises:
            KafkaException: The group refuses us, or did not answer.
            TaskqKafkaError: A producer could not be made.
        """
        producer = self._producer.live()
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
        if former:
            # The same again: only a member is let to. One that was thrown out hears it here, and does not shut out its own heir.
            member.write_leases(
                {number: lease_of(owner) for owner, held in former.items() for number in held}
            )
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

    def _shut_out_owner(self, member: ShardMember, owner: str, partitions: list[int]) -> None:
        """Keep a former owner from ever committing again, and end what it has open."""
        held = member.open_transactions(partitions)
        begun = time.monotonic()
        self._end_owner(owner)
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

    # -- letting go ---------------------------------------------------------------------------------------------------

    def release(self, partitions: list[int]) -> None:
        """Called inside a poll: partitions are given up. Nothing of ours is open, so the heir need not shut us out."""
        self._newer.difference_update(partitions)
        gone = self._drop(partitions)
        member = self.member
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

    def lose(self, partitions: list[int]) -> None:
        """Called inside a poll: partitions are somebody else's by now, who has shut us out, or is about to."""
        self._newer.difference_update(partitions)
        gone = self._drop(partitions)
        if gone:
            self._producer.drop()
            logger.warning(
                "%s: lost the partitions %s",
                self._topic,
                ", ".join(map(str, gone)),
                extra={"event": "shards.lost", "log": self._log, "partitions": gone},
            )

    def leave(self) -> None:
        """Let go of all shards and of the member, which leaves its group. Blocks for a second, if no broker answers."""
        member = self.member
        if member is None:
            return
        if len(self._shards) and member.answers():
            # Not while the broker is away: a commit would wait for its return. Without it the heir shuts us out.
            self.release(list(self._shards.partitions))
        self.forget_all()
        self._newer.clear()
        self.member = None
        with suppress(KafkaException):
            member.close()

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop the memory of shards that are still ours; they will be opened anew."""
        gone = self._drop(partitions)
        if self.member is not None:
            self.member.end(gone)

    def forget_all(self) -> None:
        """Drop the memory of all shards, and the producer."""
        self._producer.drop()
        self.forget(self._shards.partitions)

    def begin_anew(self, now: float) -> None:
        """Drop all memory after a failure, and open the shards again after a moment."""
        self.forget_all()
        self._open_at = now + self._backoff.next()

    def _drop(self, partitions: Iterable[int]) -> list[int]:
        gone = self._shards.forget(partitions)
        self._loader.forget(gone)
        self._resting.forget(gone)
        return gone
