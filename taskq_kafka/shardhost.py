"""A host of shards: joins the group, takes leases, reads its shards and fires what is due. One thread is in `run`.

Each turn of it is: poll and read (shardreading.py), open what is ours (shardowner.py), take what is due (shardsdue.py), write that
(shardfiring.py). The rules, which docs/decisions/0017-one-producer-an-owner.md gives reasons for:

- A shard is opened without a poll between shutting out its former owner, taking the lease and beginning to read. It fires after its
  end was reached once, with what stood behind open transactions of others.
- All that is due in all shards goes into one transaction. After one that was aborted for a record's sake the memory is right. After
  any other failure all shards are forgotten and opened anew, and a producer that may be shut out is not used again, nor is its id.
- A poll is never longer than `LOOK_EVERY`, as nothing but time ends it: so soon are `stop` and `wake` heard.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from confluent_kafka import KafkaException

from .clientlog import LOG_INTERVAL
from .errors import ClockWrong, LogUnfit, RequestRefused, TaskqKafkaError
from .firingtopics import FiringTopics
from .groups import Groups
from .options import TransportOptions
from .restingshards import RestingShards
from .shardfiring import ShardFiring
from .shardloader import ShardLoader
from .shardmember import ShardMember
from .shardowner import ShardOwner
from .shardproducer import ShardProducer
from .shardreading import ShardReading
from .shardsdue import LOOK_EVERY, ShardsDue
from .shardset import Shard, ShardSet, ShardStatus
from .shared import shared
from .topics import topic_of
from .transactions import Broken
from .watchdog import Replacements

logger = logging.getLogger(__name__)

UNMADE_SECONDS: Final = 30.0
"""Until a queue is tried again that could not be made: too few brokers are up, a quota, a policy."""

WRONG_CLOCK_SECONDS: Final = 60.0
"""For which a host stays away that the broker refused because of its machine's clock: others are to have its shards."""


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
        self._log = log
        topic = self._topic = topic_of(options.prefix, log)
        self._check = check
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._shards = ShardSet()
        self._loader = ShardLoader(options, topic)
        self._producer = ShardProducer(self._options)
        resting = RestingShards()
        self._owner = ShardOwner(
            self._options,
            log,
            topic,
            open_shard,
            shards=self._shards,
            loader=self._loader,
            producer=self._producer,
            resting=resting,
        )
        self._reading = ShardReading(log, topic, self._shards, self._owner)
        self._due = ShardsDue(self._shards, self._loader, now_ms, self._woken)
        self._firing = ShardFiring(
            self._options,
            log,
            topic,
            owner=self._owner,
            producer=self._producer,
            resting=resting,
            topics=FiringTopics(options, self._producer, unmade_seconds=UNMADE_SECONDS),
            unmade_seconds=UNMADE_SECONDS,
        )
        self._join_at = 0.0
        self._replacements = Replacements()
        self._said_at: float | None = None

    # -- what any thread may call -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let `run` return soon."""
        self._stopping.set()

    def wake(self) -> None:
        """Let it ask its shards at once, also those that said they have nothing yet."""
        self._woken.set()

    def status(self) -> ShardStatus:
        """Return its place."""
        member = self._owner.member
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
            self._owner.leave()
            self._loader.close()
            self._producer.drop()

    def _turn(self) -> None:
        try:
            member = self._joined()
            if member is None:
                self._stopping.wait(LOOK_EVERY)
                return
            self._reading.take_in(member, member.poll(self._due.wait()))
            self._reading.say_hidden()
            self._owner.open_missing(member)
            self._firing.fire(self._due.take())
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
            self._owner.forget_all()
            self._replace("it failed")

    # -- the member ---------------------------------------------------------------------------------------------------

    def _joined(self) -> ShardMember | None:
        """Return the member, made anew if it has to be; None while that has to wait."""
        owner = self._owner
        if owner.member is not None and owner.member.replace_because:
            self._replace(owner.member.replace_because)
        if owner.member is None and time.monotonic() >= self._join_at:
            groups = shared(Groups, self._options)
            owner.member = ShardMember(
                self._options, self._topic, groups, on_revoke=owner.release, on_lost=owner.lose
            )
        return owner.member

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
        self._owner.leave()

    # -- failures -----------------------------------------------------------------------------------------------------

    def _begin_anew(self, error: TaskqKafkaError) -> None:
        """Open all shards anew after a failure: what is in memory may not be what stands in the log."""
        now = time.monotonic()
        if isinstance(error, ClockWrong):
            self._stay_away(error, now)
            return
        self._owner.begin_anew(now)
        if self._said_at is None or now - self._said_at >= LOG_INTERVAL:
            self._said_at = now
            logger.warning(
                "%s: %s; the shards are opened anew, what is due comes later",
                self._topic,
                error,
                extra={"event": "shards.reopened", "log": self._log},
            )

    def _stay_away(self, error: ClockWrong, now: float) -> None:
        """Leave the group for a while: a host with a good clock can send what this one may not."""
        logger.error(
            "%s: %s; its shards are left to others for %.0f s",
            self._topic,
            error,
            WRONG_CLOCK_SECONDS,
            extra={"event": "shards.clock_wrong", "log": self._log},
        )
        self._join_at = now + WRONG_CLOCK_SECONDS
        self._owner.leave()

    def _explained(self, exception: KafkaException) -> TaskqKafkaError:
        member = self._owner.member
        if member is None:
            return RequestRefused(0, "KafkaException", str(exception))
        return member.explain(exception)
