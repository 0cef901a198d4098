"""One queue's thread: fetch, look at the headers, claim, hand out. It owns the queue's channel; nobody else calls it.

In hand are records that were fetched and not claimed: a rebalance voids them, leaving the group gives them back. Nothing runs
before `channel.claim` has granted it. What is above its task's rate, or whose key is at work (keyorder.py), waits in hand, and
others of the queue pass it, until the hand is full of such.

Tasks with `acks_late` are started by the same claim that settles the others, and settled here when lateacks.py says so: with the
next claim, or a tenth of a second later. The channel stays in its group until none is at work: whoever stops waits for them as long
as the grace lasts, and then gives them back.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from taskq.app import App
from taskq.clock import Clock
from taskq.errors import BrokerUnreachable, TaskqError
from taskq.executor import one_line
from taskq.protocols import IntakeChannel, IntakeStatus, Rebalance, Record
from taskq.revocation import Revocations
from taskq.worker.claimwatch import OpenClaim
from taskq.worker.delivery import Delivery, task_fields
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.fullness import PAUSE_AFTER, Fullness
from taskq.worker.health import Pulse
from taskq.worker.isolation import Isolation, in_order_of_suspicion
from taskq.worker.keyed import KeyedWork
from taskq.worker.keyorder import KeyOrder
from taskq.worker.lateacks import LateAcks
from taskq.worker.moves import Moves
from taskq.worker.outbox import Outbox
from taskq.worker.refusals import Refusals
from taskq.worker.revoked import say_not_run
from taskq.worker.screening import Early, Expired, Refused, Revoked, Screen
from taskq.worker.spare import Spare
from taskq_kafka.steps import step_of_source

logger = logging.getLogger(__name__)

_MOST_RECORDS = 1000
"""Records a fetch at most: a claim of that many is one commit, and they are in memory."""

_MOST_ABOVE_RATE = 200
_MOST_KEYED = 1000
_MOST_BYTES_WAITING = 8 * 1024 * 1024
"""What may wait in hand for its task's rate; for keys more, because records come by partition, and a backlog of one has few keys.
Beyond that the queue waits with it. It is taken from again when half of it is gone: stopping to fetch throws up to a megabyte of
prefetched records away."""

_FETCH_SECONDS = 0.2
"""Longest wait for a record; also how soon a stop is seen."""

_ROOM_SECONDS = 0.25
"""Longest wait for a slot before the heartbeat and the stop are looked at."""

_QUESTION_SECONDS = 5.0
"""For a question to the broker that only a log line needs."""

_STATUS_SECONDS = 2.0
"""For a question how the queue stands; no records are taken meanwhile, and there are no partitions to take them from."""

_LATE_SECONDS = 0.1
"""Longest wait for anything while late acks may come."""

_KEY_SECONDS = 0.01
"""Longest wait for a key that is at work while other records may come: a fetch cannot be waited for together with it."""

_KEYED_FETCH_SECONDS = 0.05
"""Longest wait for a record while a task with a key is at work, which may have to run again at once."""

_REVOKE_SECONDS = 2.0
"""How long partitions that are to be given up wait for what runs of them and settles late, or has a key. Heartbeats go on
meanwhile; what is not done by then runs again elsewhere, and the order of keys may end."""

_STOP_SECONDS = 5.0
"""At a stop: how soon a task that is held for its next run must be due to have it here. The partitions stand still meanwhile."""

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 10.0


class Intake:
    """The thread of one queue's priority step; `queue` is the name of the step's topic, QUEUE or QUEUE.pN."""

    def __init__(
        self,
        queue: str,
        app: App,
        dispatcher: Dispatcher,
        outbox: Outbox,
        *,
        worker: str,
        clock: Clock,
        revoked: Revocations | None = None,
    ) -> None:
        """Prepare; `start` starts the thread.

        Args:
            queue: What it takes from.
            app: Its broker opens the channel; its tasks are what can be run.
            dispatcher: Has the slots.
            outbox: While it is full nothing is taken.
            worker: The worker's name, for dead letters.
            clock: For waits.
            revoked: The tasks that are not to be run; None: there are none.
        """
        self.queue = queue
        self.step = step_of_source(queue)
        self._app = app
        self._dispatcher = dispatcher
        self._slots = dispatcher.slots
        self._rates = dispatcher.rates
        self._outbox = outbox
        self._clock = clock
        self._revoked = Revocations() if revoked is None else revoked
        self._screen = Screen(app.registry, app.formats, self._revoked)
        self._stopping = threading.Event()
        self._refusals = Refusals(queue, app, stopping=self._stopping, worker=worker, clock=clock)
        self._moves = Moves(queue, app, self._refusals, stopping=self._stopping, clock=clock)
        self._giving_up = threading.Event()
        self._letting_go = threading.Event()
        self._late = LateAcks(clock.monotonic)
        self._order = KeyOrder()
        self._keyed = KeyedWork(queue, app, self._order, outbox, worker=worker, clock=clock)
        self._is_finishing = False
        self._thread = threading.Thread(target=self._run, name=f"taskq-intake-{queue}", daemon=True)
        self._status = IntakeStatus()
        self._moved = clock.monotonic()
        self._waits_for = ""
        # The thread's own, from here on:
        self._hand: list[Delivery] = []
        self._may_expire = False
        self._has_keys = False
        self._is_above_rate = False
        self._full_since: float | None = None
        self._has_told_rate = False
        self._revocations_seen = 0
        self._claiming: list[Delivery] = []
        self._claiming_since = 0.0
        self._lost = 0
        self._fullness = Fullness()
        self._spare = Spare()
        self._has_left = False
        self._isolation = Isolation()
        self._said_blocked: set[int] = set()
        self._last_task: str | None = None
        self._stays_in_line = False
        self._rebalances: list[Rebalance] = []
        self._is_hand_doubtful = False
        self._backoff = _FIRST_BACKOFF

    # For the supervisor

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more and leave the group; returns at once."""
        self._stopping.set()
        self._dispatcher.wake_all()

    def give_up(self) -> None:
        """Do not wait any longer for the answer to a claim; what it was for is lost."""
        self._giving_up.set()

    def let_go(self) -> None:
        """Wait for nothing that settles late any longer: give it back and leave the group; returns at once."""
        self._letting_go.set()
        self._late.wake()

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    @property
    def holds_late(self) -> bool:
        """Whether the thread has to stay in its group for what is at work: it is settled afterwards, or its key is held."""
        return self.is_running and (self._is_finishing or self._has_work())

    def _has_work(self) -> bool:
        return not (self._late.is_empty() and self._order.is_empty)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, at most `timeout` seconds."""
        self._thread.join(timeout)

    @property
    def status(self) -> IntakeStatus:
        """The channel's place in the group, as of the last fetch."""
        return self._status

    @property
    def pulse(self) -> Pulse:
        """What health is judged by."""
        claim, waits_for = self.open_claim, self._waits_for
        if claim is not None:
            waits_for = f"a claim of {claim.count} record{'s' if claim.count != 1 else ''}"
        # A step's topic may appear at any time, and joining its group must not take a worker out of service that works.
        is_joined = (
            self._status.assigned or self._spare.is_settled or self._has_left or self.step > 0
        )
        return Pulse(self.queue, self.is_running, self._moved, waits_for, is_joined)

    def claiming(self) -> list[Delivery]:
        """Return what a claim is under way for: if the process ends now, it may be claimed and will not run."""
        return list(self._claiming)

    @property
    def open_claim(self) -> OpenClaim | None:
        """The claim that is under way, if one is."""
        since, count = self._claiming_since, len(self._claiming)
        return OpenClaim(self.queue, count, since) if count else None

    @property
    def lost(self) -> int:
        """How many deliveries were lost to claims that got no definite answer; each was named in the log."""
        return self._lost

    # The thread

    def _run(self) -> None:
        try:
            self._serve_until_stopped()
        finally:
            self._keyed.hand_on(self._order.close())

    def _serve_until_stopped(self) -> None:
        while not self._stopping.is_set():
            try:
                self._serve()
            except ConnectionError as error:
                self._wait_before_reopening(error)
            except BrokerUnreachable as error:
                self._wait_before_reopening(error)
            except self._app.broker.refusals as error:
                self._say_refused(error)
                self._wait(_LONGEST_BACKOFF)
            except Exception as error:
                # The loop's door: a bug or a broken channel costs a new channel, not the worker.
                logger.exception("intake of queue %s failed", self.queue)
                self._wait_before_reopening(error)

    def _wait_before_reopening(self, error: Exception) -> None:
        if self._stopping.is_set():
            return
        logger.warning(
            "intake of queue %s lost the broker (%s); tries again in %.1f s",
            self.queue,
            one_line(str(error)),
            self._backoff,
            extra={"event": "intake.lost", "queue": self.queue},
        )
        self._wait(self._backoff)
        self._backoff = min(self._backoff * 2, _LONGEST_BACKOFF)

    def _say_refused(self, error: Exception) -> None:
        logger.error(
            "queue %s stands still: %s; tried again in %g s",
            self.queue,
            one_line(str(error)),
            _LONGEST_BACKOFF,
            extra={"event": "intake.refused", "queue": self.queue},
        )

    def _wait(self, seconds: float) -> None:
        self._move()
        self._clock.wait(self._stopping, seconds)

    def _serve(self) -> None:
        """Open a channel and take from it until the worker stops or the channel breaks."""
        with self._waiting_for("a connection"):
            channel = self._app.broker.open_channel()
        try:
            with self._waiting_for("its group"):
                channel.listen(
                    self.queue,
                    on_rebalance=self._rebalances.append,
                    before_revoke=partial(self._finish, channel),
                )
            while not self._stopping.is_set():
                self._step(channel)
                self._backoff = _FIRST_BACKOFF
            self._drop_hand()
            self._dispatcher.leave_line(self.queue)
            self._finish_late(channel)
        finally:
            self._drop_hand()
            self._isolation = Isolation()
            self._has_left = False
            self._fullness = Fullness()
            self._spare = Spare()
            self._dispatcher.leave_line(self.queue)
            self._status = IntakeStatus()
            self._settle_acked(channel)
            with self._waiting_for("leaving its group"):
                channel.close()
            # Another one: what still comes to this one names deliveries of a channel that is gone.
            late, self._late = self._late, LateAcks(self._clock.monotonic)
            self._void(late.forget_unless(()), "its worker lets go of it")
            self._order.forget_awaited()
            self._is_finishing = False

    def _move(self) -> None:
        """Tell health that the thread came by."""
        self._moved = self._clock.monotonic()

    @contextmanager
    def _waiting_for(self, what: str) -> Iterator[None]:
        """Tell health that what follows takes as long as the broker does."""
        self._waits_for = what
        try:
            yield
        finally:
            self._move()  # first: else it seems to stand still in between
            self._waits_for = ""

    def _step(self, channel: IntakeChannel) -> None:
        self._move()
        if self._has_left:
            self._wait_outside(channel)
            return
        version = self._dispatcher.version
        self._settle_late(channel)
        self._end_isolation(channel)
        if self._outbox.is_full or not self._run_held():
            self._wait_for_room(channel, version)
            return
        ready, wait = self._ready(channel)
        if not ready:
            self._fetch_more(channel, wait, version)
            ready, _ = self._ready(channel)
        if self._stopping.is_set():
            return
        if ready and not self._claim(channel, ready):
            self._wait_for_room(channel, version)

    def _ready(self, channel: IntakeChannel) -> tuple[Sequence[Delivery], float]:
        """Return what of the hand may start now, and the seconds until more of it may."""
        if self._may_expire:
            self._skip_expired(channel)
        if self._revocations_seen != self._revoked.version:
            self._drop_all_revoked(channel)
        hand: Sequence[Delivery] = self._hand
        if self._has_keys:
            hand = self._order.split(hand)
        return self._rates.split(hand, self._clock.monotonic())

    # Fetching

    def _fetch_more(self, channel: IntakeChannel, wait: float, version: int) -> None:
        """Fetch while nothing in hand may start.

        Args:
            channel: The queue's.
            wait: Seconds until something may, as far as rates are concerned.
            version: The dispatcher's, before it was seen that nothing may.
        """
        if not self._order.is_empty:
            wait = min(wait, self._held_wait(), _KEYED_FETCH_SECONDS)
        if not self._hand:
            self._is_above_rate = self._has_told_rate = self._has_keys = False
            self._keyed.empty()
            if not self._stays_in_line or not self._fetch_next(channel):
                self._fetch(channel, min(_FETCH_SECONDS, wait))
            return
        self._dispatcher.leave_line(self.queue)  # the slot that is kept for it there is others'
        share = 0.5 if self._is_above_rate else 1.0
        self._is_above_rate = (
            len(self._hand) >= share * self._most_waiting
            or sum(each.size for each in self._hand) >= share * _MOST_BYTES_WAITING
        )
        if self._is_above_rate:
            if self._has_keys and not self._is_full_for_long():
                # Keys are free again in a moment; a pause would throw away what is fetched meanwhile, for each hundred tasks.
                self._settle_late(channel)
                self._dispatcher.wait_for_change(version, min(_LATE_SECONDS, wait))
                return
            self._say_full()
            self._keep_membership(channel)
            longest = _ROOM_SECONDS if self._late.is_empty() else _LATE_SECONDS
            if self._has_keys:
                self._dispatcher.wait_for_change(version, min(longest, wait))
            else:
                self._clock.wait(self._stopping, min(longest, wait))
            return
        self._full_since = None
        if self._has_keys:
            count = len(self._hand)
            self._fetch(channel, 0)
            if len(self._hand) == count:
                self._dispatcher.wait_for_change(version, min(_KEY_SECONDS, wait))
        else:
            self._fetch(channel, min(_FETCH_SECONDS, wait))

    def _fetch_next(self, channel: IntakeChannel) -> bool:
        """Fetch what has arrived already; if nothing has, let lower steps have the slots that are kept for this one."""
        self._fetch(channel, 0)
        if not self._hand:
            self._leave_line()
        return bool(self._hand)

    def _leave_line(self) -> None:
        self._stays_in_line = False
        self._dispatcher.leave_line(self.queue)

    @property
    def _most_waiting(self) -> int:
        """How many records may wait in hand."""
        return _MOST_KEYED if self._has_keys else _MOST_ABOVE_RATE

    def _is_full_for_long(self) -> bool:
        """Return whether the hand has been full for so long that the channel should be polled again."""
        now = self._clock.monotonic()
        if self._full_since is None:
            self._full_since = now
        return self._fullness.is_paused or now - self._full_since >= PAUSE_AFTER

    def _say_full(self) -> None:
        """Say that the queue waits with its tasks: once, until none of them waits."""
        above: Sequence[Delivery] = self._hand
        if self._has_keys:
            above = self._order.split(above)
            if len(above) < len(self._hand):
                self._keyed.say_full(self._hand)
        if self._has_told_rate or not above:
            return
        self._has_told_rate = True
        logger.info(
            "queue %s waits with %d tasks that are above their rate_limit, such as %s; what stands behind them waits, too",
            self.queue,
            len(above),
            above[0].task,
            extra={"event": "intake.rate_limited", "queue": self.queue},
        )

    def _fetch(self, channel: IntakeChannel, timeout: float) -> None:
        if self._fullness.is_paused:
            channel.resume()
            self._fullness.is_paused = False
        # At least one for each slot: the queue then stands in line with records in hand, and takes slots as soon as they are free.
        limit = min(max(self._slots, self._dispatcher.room(self._last_task)), _MOST_RECORDS)
        if self._hand:
            limit = max(1, min(limit, self._most_waiting - len(self._hand)))
        if not self._late.is_empty():
            timeout = min(timeout, _LATE_SECONDS)
        self._sort(channel, self._poll(channel, limit, timeout))

    def _poll(self, channel: IntakeChannel, limit: int, timeout: float) -> Sequence[Record]:
        """Fetch, and look at what a rebalance has done to the records in hand."""
        self._move()
        records = channel.fetch(limit, timeout)
        self._status = channel.status()
        if self._rebalances:
            self._keyed.look_at(self._rebalances)
            self._log_rebalance()
            self._is_hand_doubtful = True
        now = self._clock.monotonic()
        if self._spare.should_ask(now, has_partitions=bool(self._status.partitions)):
            self._look_for_a_partition()
        if self._is_hand_doubtful:
            self._is_hand_doubtful = False
            at_work = self._late.tags()
            held = channel.held(
                [*(delivery.record.delivery_tag for delivery in self._hand), *at_work]
            )
            self._keep([each for each in self._hand if each.record.delivery_tag in held])
            self._void(self._late.forget_unless(held), "its partition has gone")
        if self._status.blocked or self._said_blocked:
            self._look_at_blocked()
        return records

    def _keep(self, hand: list[Delivery]) -> None:
        """Keep only a part of the hand. Who has nothing in hand leaves the line: the slot that is kept for him is others'."""
        self._hand = hand
        if not hand:
            self._dispatcher.leave_line(self.queue)

    def _sort(self, channel: IntakeChannel, records: Sequence[Record]) -> None:
        """Put what can be run in hand; write off the rest."""
        if not records:
            return
        now = self._clock.now()
        judge = self._screen.judge
        refused: list[Refused] = []
        early: list[Early] = []
        are_suspects = False
        for record in records:
            verdict = judge(record, now)
            is_again = record.key is not None and self._order.came(record.partition, record.offset)
            if isinstance(verdict, Delivery):
                self._put_in_hand(verdict, is_again=is_again)
                are_suspects = are_suspects or verdict.is_suspect
            elif isinstance(verdict, Refused):
                refused.append(verdict)
            elif isinstance(verdict, Early):
                early.append(verdict)
            else:
                self._drop(channel, verdict)
        if are_suspects:
            self._hand.sort(key=in_order_of_suspicion)
        if early or refused:
            self._put_aside(channel, early, refused)

    def _put_aside(
        self, channel: IntakeChannel, early: list[Early], refused: list[Refused]
    ) -> None:
        """Move what is early to the timers, and what cannot be run to the dead letters."""
        # Either may take as long as a broker refuses it: no slot is kept for this queue meanwhile, nor from lower steps.
        self._leave_line()
        if early:
            # First: only what came with the last fetch can be moved for certain.
            self._moves.move(channel, early, self._keep_membership, self._giving_up.is_set)
        if refused:
            self._refusals.write_off(channel, refused, self._keep_membership)

    def _put_in_hand(self, delivery: Delivery, *, is_again: bool) -> None:
        if delivery.is_suspect:
            _say_suspect(delivery)
        if delivery.envelope.expires is not None:
            self._may_expire = True
        if delivery.key is not None:
            self._has_keys = True
            self._keyed.see()
        if is_again:
            # Before those of its partition that stand behind it, which may be of its key.
            self._hand.insert(_place_of(delivery, self._hand), delivery)
        else:
            self._hand.append(delivery)

    def _drop(self, channel: IntakeChannel, verdict: Expired | Revoked) -> None:
        if isinstance(verdict, Revoked):
            self._drop_revoked(channel, verdict)
        else:
            self._skip(channel, verdict)

    def _drop_revoked(self, channel: IntakeChannel, revoked: Revoked | Delivery) -> None:
        channel.settle([revoked.record.delivery_tag])
        say_not_run(revoked.envelope, revoked.record)

    def _drop_all_revoked(self, channel: IntakeChannel) -> None:
        """Write off what was revoked while it waited in hand for a slot."""
        self._revocations_seen = self._revoked.version
        kept: list[Delivery] = []
        for delivery in self._hand:
            if delivery.envelope.id in self._revoked:
                self._drop_revoked(channel, delivery)
            else:
                kept.append(delivery)
        self._keep(kept)

    def _skip(self, channel: IntakeChannel, expired: Expired | Delivery) -> None:
        channel.settle([expired.record.delivery_tag])
        logger.info(
            "task %s[%s] expired before it could run; it is not run",
            expired.envelope.task,
            expired.envelope.id,
            extra={"event": "task.expired", **_fields_of(expired)},
        )

    def _skip_expired(self, channel: IntakeChannel) -> None:
        """Write off what expired while it waited in hand for a slot."""
        now = self._clock.now()
        kept: list[Delivery] = []
        for delivery in self._hand:
            if delivery.envelope.is_expired(now):
                self._skip(channel, delivery)
            else:
                kept.append(delivery)
        self._may_expire = any(each.envelope.expires is not None for each in kept)
        self._keep(kept)

    def _keep_membership(self, channel: IntakeChannel) -> None:
        """Poll without taking records, while the queue stands still."""
        if not self._fullness.is_paused:
            channel.pause()
            self._fullness.is_paused = True
        self._settle_late(channel)
        self._poll(channel, 1, 0)

    # Claiming

    def _claim(self, channel: IntakeChannel, ready: Sequence[Delivery]) -> bool:
        """Claim as much of what is ready in hand as has slots, and hand it out; return whether there was a slot for anything."""
        grants = self._dispatcher.reserve(self.queue, ready, self.step)
        if not grants:
            self._wait_for_isolation(ready[0])
            return False
        self._fullness.found_slot()
        self._stays_in_line = self.step > 0
        self._claiming_since = self._clock.monotonic()
        batch = self._claiming = list(ready[: grants[-1].stop])
        self._take_from_hand(batch)
        self._last_task = batch[-1].task
        late = [delivery for delivery in batch if delivery.late]
        try:
            self._settle_acked(channel)
            granted, refused = channel.claim(
                [delivery.record.delivery_tag for delivery in batch],
                start={delivery.record.delivery_tag for delivery in late},
                alone={each.record.delivery_tag for each in late if each.is_suspect},
                give_up=self._giving_up.is_set,
            )
        except BaseException:
            self._move()
            self._name_lost([delivery for delivery in batch if not delivery.late])
            self._claiming = []
            self._dispatcher.cancel(batch)
            raise
        if refused:
            batch = self._without_refused(batch, set(granted))
            late = [delivery for delivery in batch if delivery.late]
        self._move()
        if late:
            self._late.begin(late)
            if self._dispatcher.is_shared:
                self._isolation.begin(late, self._clock.monotonic())
        if self._has_keys:
            self._order.begin(batch)
        self._dispatcher.hand_out(batch)
        self._claiming = []
        return True

    def _take_from_hand(self, batch: Sequence[Delivery]) -> None:
        if self._hand[: len(batch)] == batch:
            del self._hand[: len(batch)]
        else:  # others wait in hand for their rate
            taken = set(batch)
            self._hand = [each for each in self._hand if each not in taken]
        self._rates.take(batch)

    def _name_lost(self, batch: Sequence[Delivery]) -> None:
        """Name what a claim without a definite answer was for: it must not run, and its offsets may be committed."""
        self._lost += len(batch)
        for delivery in batch:
            logger.error(
                "lost: %s: its claim got no answer, so it may be claimed and does not run",
                delivery,
                extra={"event": "task.lost", **delivery.fields},
            )

    def _without_refused(self, batch: list[Delivery], granted: set[int]) -> list[Delivery]:
        self._is_hand_doubtful = True
        refused = [each for each in batch if each.record.delivery_tag not in granted]
        self._dispatcher.cancel(refused)
        self._order.await_again(refused)
        logger.info(
            "the broker refused the claim of %d records of queue %s; another worker has them, or they come again",
            len(refused),
            self.queue,
            extra={"event": "claim.refused", "queue": self.queue},
        )
        return [each for each in batch if each.record.delivery_tag in granted]

    # Tasks with a key

    def _run_held(self) -> bool:
        """Let run again what is held and due; return whether there was a slot for all of it."""
        if self._order.is_empty:
            return True
        now = self._clock.monotonic()
        due = self._order.due(now)
        if self._revoked.version:
            due = [each for each in due if not self._is_revoked(each)]
        ready, _ = self._rates.split(due, now)
        if not ready:
            return True
        grants = self._dispatcher.reserve(self.queue, ready, self.step)
        if not grants:
            self._wait_for_isolation(ready[0])
            return False
        self._stays_in_line = self.step > 0
        batch = ready[: grants[-1].stop]
        self._rates.take(batch)
        self._order.resume(batch)
        if self._dispatcher.is_shared:
            self._isolation.begin(batch, now)
        self._dispatcher.hand_out(batch)
        return len(batch) == len(ready)

    def _is_revoked(self, held: Delivery) -> bool:
        """Return whether a held task was revoked while it waited, and is ended for that."""
        if held.envelope.id not in self._revoked:
            return False
        say_not_run(held.envelope, held.record)
        self._order.resume([held])
        self._order.ended(held)
        if held.acks is not None:
            held.acks.ack([held])
        return True

    def _held_wait(self) -> float:
        """Return the seconds until a held task may run again; a while, if one waits for its rate."""
        now = self._clock.monotonic()
        return _KEYED_FETCH_SECONDS if self._order.due(now) else self._order.wait(now)

    def _wait_ended(self, partitions: Collection[int], until: float) -> None:
        """Wait until nothing of some partitions is at work that has a key, or waits for a run that is due by `until`."""
        clock, order = self._clock, self._order
        while order.is_at_work(partitions, until=until) and not self._letting_go.is_set():
            now = clock.monotonic()
            if now >= until:
                return
            self._run_held()
            order.wait_for_news(min(_LATE_SECONDS, until - now, max(order.wait(now), 0.001)))

    def _let_go_of_held(self, channel: IntakeChannel, after: float) -> None:
        """Give up what is held for a run that is due after an instant: give it back, or hand it to the timers."""
        gone = self._order.take_held(lambda held: held.due > after)
        if not gone:
            return
        self._keyed.hand_on(gone)
        late = [held.delivery for held in gone if held.delivery.late]
        if late:
            held = self._late.tags_but(late)
            self._void(self._late.forget_unless(held), "its worker stops")
            channel.release([delivery.record.delivery_tag for delivery in late])

    # Late acks

    def _settle_late(self, channel: IntakeChannel) -> None:
        """Have ends committed that wait for a claim no longer, and have delivered again what processes died with."""
        if not self._late.is_due:
            return
        self._settle_acked(channel)
        self._release_died(channel)
        channel.commit()

    def _settle_acked(self, channel: IntakeChannel) -> None:
        """Settle what has ended; committed by the channel's next commit."""
        if acked := self._late.take_acked():
            channel.settle(acked)

    def _release_died(self, channel: IntakeChannel) -> None:
        if died := self._late.take_died():
            channel.release(died, died=True)

    def _finish(self, channel: IntakeChannel, partitions: Collection[int]) -> None:
        """Wait a little for what runs of partitions that are about to go, and settle it; the channel calls it."""
        until = self._clock.monotonic() + _REVOKE_SECONDS
        self._wait_ended(partitions, until)
        left = max(0.0, until - self._clock.monotonic())
        self._late.wait_ended(
            partitions, left, unless=self._letting_go.is_set, but=self._order.is_held
        )
        self._settle_acked(channel)

    def _finish_late(self, channel: IntakeChannel) -> None:
        """Stay in the group until all is settled that is at work, or has to be given back; and until no key is busy."""
        if not self._has_work():
            return
        self._is_finishing = (
            True  # until what has ended is committed, here or by the channel's close
        )
        if not self._fullness.is_paused:
            channel.pause()
            self._fullness.is_paused = True
        until = self._clock.monotonic() + _STOP_SECONDS
        while self._has_work() and not self._letting_go.is_set():
            self._poll(channel, 1, 0)
            self._let_go_of_held(channel, until)
            self._run_held()
            self._settle_late(channel)
            if self._order.is_empty:
                self._late.wait_for_news(_LATE_SECONDS)
            else:
                self._order.wait_for_news(min(_LATE_SECONDS, max(self._held_wait(), 0.001)))
        self._let_go_of_held(channel, -math.inf)
        self._settle_acked(channel)
        self._release_died(channel)
        # Leaving the group may wait for members that do not answer: who waits for what has ended need not wait for that.
        self._is_finishing = not (self._late.is_empty() and channel.commit())

    def _void(self, deliveries: Sequence[Delivery], why: str) -> None:
        """Take note that deliveries are not ours any more, and say so; what of them is held is not run here."""
        if not self._order.is_empty:
            gone = set(deliveries)
            self._order.take_held(lambda held: held.delivery in gone)
        for delivery in deliveries:
            logger.warning(
                "%s is not finished, and %s: it runs again",
                delivery,
                why,
                extra={"event": "task.void", **delivery.fields},
            )

    # Suspects

    def _wait_for_isolation(self, head: Delivery) -> None:
        """Let a suspect go on in company that waits too long for its process to be empty."""
        if not head.is_suspect or not self._dispatcher.is_shared:
            return  # a process with one slot is alone with what it runs
        if self._isolation.is_awaited_long(head, self._clock.monotonic()):
            self._dispatcher.let_off(head)

    def _end_isolation(self, channel: IntakeChannel) -> None:
        """Let others in beside a suspect that has been alone long enough, once the group knows that it is not any more."""
        for delivery in self._isolation.ended(self._clock.monotonic()):
            if delivery.lane >= 0:  # it has not ended
                channel.keep_company([delivery.record.delivery_tag])
                self._dispatcher.let_off(delivery)

    # Partitions that are full

    def _look_at_blocked(self) -> None:
        """Say which task keeps a partition from going on, and when it goes on."""
        blocked = self._status.blocked
        for partition, offset in blocked.items():
            if partition not in self._said_blocked:
                self._say_blocked(partition, offset)
        for partition in self._said_blocked - set(blocked):
            logger.info(
                "queue %s partition %d goes on",
                self.queue,
                partition,
                extra={
                    "event": "intake.partition_freed",
                    "queue": self.queue,
                    "partition": partition,
                },
            )
        self._said_blocked = set(blocked)

    def _say_blocked(self, partition: int, offset: int) -> None:
        found = self._late.find(partition, offset)
        place = f"{self.queue}/{partition}/{offset}"
        logger.error(
            "queue %s partition %d stands still: %s is not finished, and what is finished and at work behind it fits no commit any "
            "more; other partitions go on, and this one does when it is finished",
            self.queue,
            partition,
            found or f"the record {place}",
            extra={
                "event": "intake.partition_blocked",
                "queue": self.queue,
                "partition": partition,
                "offset": offset,
                **(found.fields if found is not None else {}),
            },
        )

    # Waiting for a slot

    def _wait_for_room(self, channel: IntakeChannel, version: int) -> None:
        now = self._clock.monotonic()
        self._fullness.found_no_slot(now)
        if self._fullness.should_pause(now):
            channel.pause()
            self._fullness.is_paused = True
        if self._fullness.is_paused:
            self._poll(channel, 1, 0)
        if self._should_leave(channel, now):
            self._leave(channel)
            return
        self._dispatcher.wait_for_change(
            version, _ROOM_SECONDS if self._late.is_empty() else _LATE_SECONDS
        )

    def _should_leave(self, channel: IntakeChannel, now: float) -> bool:
        if self._has_work():
            return False  # its end settles nothing once the partition is another's, or others of its key pass it
        is_waiting = bool(self._hand) or self._status.lag > 0
        full_for = self._dispatcher.full_for()
        if not self._fullness.should_ask(now, full_for=full_for, is_waiting=is_waiting):
            return False
        with self._waiting_for("the number of workers"):
            return channel.other_members() > 0

    def _leave(self, channel: IntakeChannel) -> None:
        logger.info(
            "all slots are busy: queue %s is left to the other workers until one is free",
            self.queue,
            extra={"event": "intake.left", "queue": self.queue},
        )
        channel.leave()
        self._drop_hand()
        self._dispatcher.leave_line(self.queue)
        self._has_left = True
        self._fullness = Fullness()
        self._spare = Spare()

    def _wait_outside(self, channel: IntakeChannel) -> None:
        version = self._dispatcher.version
        if self._dispatcher.room(None) and not self._outbox.is_full:
            channel.rejoin()
            self._has_left = False
            logger.info(
                "a slot is free: back to queue %s",
                self.queue,
                extra={"event": "intake.rejoined", "queue": self.queue},
            )
            return
        self._dispatcher.wait_for_change(version, _ROOM_SECONDS)

    def _drop_hand(self) -> None:
        """Forget what is in hand: it was not claimed, so it comes again, here or at another worker."""
        self._hand = []

    # Rebalances

    def _log_rebalance(self) -> None:
        """Say once per rebalance what this worker has now."""
        kinds = {event.kind for event in self._rebalances}
        self._rebalances.clear()
        partitions = sorted(self._status.partitions)
        if partitions:
            logger.info(
                "queue %s: partitions %s (%s)",
                self.queue,
                ", ".join(map(str, partitions)),
                ", ".join(sorted(kinds)),
                extra={"event": "intake.rebalanced", "queue": self.queue},
            )

    def _look_for_a_partition(self) -> None:
        """Say once if all partitions are with other workers: slots do not need a partition each, processes do."""
        broker, group = self._app.broker, self._app.settings.group
        try:
            with broker.errors():
                admin, seconds = broker.admin, _STATUS_SECONDS
                counts = admin.partition_counts([self.queue], timeout=seconds)
                partitions = counts.get(self.queue, 0)
                members = admin.worker_counts([self.queue], group=group, timeout=seconds)
                workers = members[self.queue]
        except TaskqError:
            logger.debug(
                "queue %s: no answer how many workers there are", self.queue, exc_info=True
            )
            return
        if workers < partitions or not partitions:
            return  # there is one to be had, and it is on its way
        self._spare.settle()
        logger.info(
            "no partition of queue %s for this worker: %d partition%s, %d workers or more; it waits in case another stops",
            self.queue,
            partitions,
            "s" if partitions != 1 else "",
            workers + 1,
            extra={"event": "intake.no_partition", "queue": self.queue},
        )


def _say_suspect(delivery: Delivery) -> None:
    logger.warning(
        "%s was at work when its worker died or was cut off: it runs again, alone in its process (delivery %d, deaths alone %d)",
        delivery,
        delivery.record.deliveries + 1,
        delivery.record.deaths,
        extra={
            "event": "task.suspect",
            "deliveries": delivery.record.deliveries + 1,
            "deaths": delivery.record.deaths,
            **delivery.fields,
        },
    )


def _place_of(delivery: Delivery, hand: Sequence[Delivery]) -> int:
    """Return where a delivery belongs in a hand: before all of its partition that stand behind it."""
    partition, offset = delivery.record.partition, delivery.record.offset
    behind = (
        place
        for place, other in enumerate(hand)
        if other.record.partition == partition and other.record.offset > offset
    )
    return next(behind, len(hand))


def _fields_of(expired: Expired | Delivery) -> dict[str, object]:
    return task_fields(expired.envelope.task, expired.envelope.id, expired.record)
