"""What an intake does with one channel, over and over: fetch, look at the headers, claim, hand out.

In hand are records that were fetched and not claimed: a rebalance voids them, leaving the group gives them back. Nothing runs
before `channel.claim` has granted it. What is above its task's rate, or whose key is at work (keyorder.py), waits in hand, and
others of the queue pass it, until the hand is full of such; then the partitions with a backlog of keys stop alone (crowding.py).

Tasks with `acks_late` are started by the same claim that settles the others, and settled when lateacks.py says so: with the next
claim, or a tenth of a second later. The channel stays in its group until none is at work: whoever stops waits for them as long as
the grace lasts, and then gives them back.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskq.protocols import IntakeChannel, IntakeStatus
from taskq.worker.crowding import Crowding
from taskq.worker.delivery import Delivery
from taskq.worker.fetcher import Fetcher
from taskq.worker.finishing import Finishing
from taskq.worker.fullhand import FullHand
from taskq.worker.heldruns import HeldRuns
from taskq.worker.intakeparts import IntakeParts
from taskq.worker.lateacks import LATE_SECONDS
from taskq.worker.line import Line
from taskq.worker.partitions import Partitions
from taskq.worker.room import Room
from taskq.worker.settling import Settling
from taskq.worker.sorter import Sorter
from taskq.worker.starter import Starter
from taskq.worker.suspects import Suspects

_MOST_RECORDS = 1000
"""Records a fetch at most: a claim of that many is one commit, and they are in memory."""

_FETCH_SECONDS = 0.2
"""Longest wait for a record; also how soon a stop is seen."""

_KEY_SECONDS = 0.01
"""Longest wait for a key that is at work while other records may come: a fetch cannot be waited for together with it."""

_KEYED_FETCH_SECONDS = 0.05
"""Longest wait for a record while a task with a key is at work, which may have to run again at once."""


class IntakeLoop:
    """From a new channel to its end. The intake's thread calls it; any thread may ask for `status`, `is_joined`, `holds_late`."""

    def __init__(self, channel: IntakeChannel, parts: IntakeParts) -> None:
        """Make all that is the channel's; `listen` joins its group.

        Args:
            channel: A new one, which is closed by `close`.
            parts: The intake's own, with an empty hand.
        """
        queue, dispatcher, clock = parts.queue, parts.dispatcher, parts.clock
        self._channel = channel
        self._queue = queue
        self._step = parts.step
        self._dispatcher = dispatcher
        self._rates = dispatcher.rates
        self._outbox = parts.outbox
        self._clock = clock
        self._stopping = parts.stopping
        self._progress = parts.progress
        self._hand = parts.hand
        self._order = parts.order
        self._refusals = parts.refusals
        self._rebalances = parts.rebalances
        self._partitions = Partitions(queue, parts.app)
        self._settling = Settling(channel, parts.order, clock)
        self._late = self._settling.late
        self._suspects = Suspects(channel, dispatcher, clock)
        self._line = Line(queue, parts.step, dispatcher, self._suspects)
        self._crowding = Crowding(queue, channel, parts.hand, parts.order, clock)
        self._fetcher = Fetcher(
            channel,
            parts.hand,
            self._line,
            self._settling,
            parts.keyed,
            self._partitions,
            parts.blocked,
            parts.rebalances,
            self._crowding,
            progress=parts.progress,
            clock=clock,
        )
        self._sorter = Sorter(
            channel,
            self._fetcher,
            parts.hand,
            self._line,
            screen=parts.screen,
            order=parts.order,
            keyed=parts.keyed,
            refusals=parts.refusals,
            moves=parts.moves,
            revoked=parts.revoked,
            give_up=parts.giving_up.is_set,
            clock=clock,
        )
        self._full_hand = FullHand(
            queue,
            parts.hand,
            self._fetcher,
            self._settling,
            order=parts.order,
            keyed=parts.keyed,
            crowding=self._crowding,
            dispatcher=dispatcher,
            stopping=parts.stopping,
            clock=clock,
        )
        self._room = Room(
            queue,
            channel,
            self._fetcher,
            parts.hand,
            self._settling,
            dispatcher=dispatcher,
            outbox=parts.outbox,
            progress=parts.progress,
            clock=clock,
        )
        self._held = HeldRuns(
            parts.order,
            parts.keyed,
            self._line,
            dispatcher,
            self._settling,
            self._suspects,
            parts.revoked,
            clock,
        )
        self._starter = Starter(
            queue,
            channel,
            parts.claims,
            hand=parts.hand,
            line=self._line,
            settling=self._settling,
            suspects=self._suspects,
            order=parts.order,
            fetcher=self._fetcher,
            dispatcher=dispatcher,
        )
        self._finishing = Finishing(
            channel,
            self._fetcher,
            self._settling,
            self._held,
            order=parts.order,
            letting_go=parts.letting_go,
            clock=clock,
        )
        self._is_closing = False

    # For any thread

    @property
    def status(self) -> IntakeStatus:
        """The channel's place in the group, as of the last fetch."""
        return IntakeStatus() if self._is_closing else self._fetcher.status

    @property
    def is_joined(self) -> bool:
        """Whether it has its place: partitions, or the knowledge that there are none for it, or it left them to others."""
        if self._is_closing:
            return False
        return (
            self._fetcher.status.assigned or self._partitions.are_with_others or self._room.has_left
        )

    @property
    def holds_late(self) -> bool:
        """Whether it has to stay in its group for what is at work: it is settled afterwards, or its key is held."""
        return self._finishing.is_under_way or self._settling.has_work()

    def wake(self) -> None:
        """Wake the thread if it waits for what settles late, to look at something else."""
        self._late.wake()

    # For the intake's thread

    def listen(self) -> None:
        """Join the group. Blocks until the broker has answered."""
        with self._progress.waiting_for("its group"):
            self._channel.listen(
                self._queue,
                on_rebalance=self._rebalances.append,
                before_revoke=self._finishing.before_revoke,
            )

    def step(self) -> None:
        """Do the next thing there is to do; waits for a fraction of a second at most, unless the broker is waited for."""
        self._progress.move()
        if self._room.has_left:
            self._room.wait_outside()
            return
        version = self._dispatcher.version
        self._settling.settle_due()
        self._suspects.let_others_in()
        self._sorter.write_off_again()
        if self._outbox.is_full or not self._held.run_due():
            self._room.wait(version)
            return
        ready, wait = self._ready()
        if not ready:
            self._fetch_more(wait, version)
            ready, _ = self._ready()
        if not ready or self._stopping.is_set():
            return
        if self._starter.start(ready):
            self._room.found()
        else:
            self._room.wait(version)

    def finish(self) -> None:
        """Take no more, and wait for what is at work and needs the group."""
        self._hand.drop()
        self._line.step_back()
        self._finishing.at_stop()

    def close(self) -> None:
        """Commit what has ended, leave the group, and void what is at work still."""
        self._hand.drop()
        self._line.step_back()
        self._crowding.forget()
        self._is_closing = True
        self._settling.settle_acked()
        try:
            with self._progress.waiting_for("leaving its group"):
                self._channel.close()
        finally:
            self._settling.end()
            self._order.forget_awaited()
            self._refusals.forget()

    # Fetching

    def _ready(self) -> tuple[Sequence[Delivery], float]:
        """Return what of the hand may start now, and the seconds until more of it may."""
        self._sorter.look_through_hand()
        hand = self._hand.deliveries
        if self._hand.has_keys:
            hand = self._order.split(hand)
        return self._rates.split(hand, self._clock.monotonic())

    def _fetch_more(self, wait: float, version: int) -> None:
        """Fetch while nothing in hand may start.

        Args:
            wait: Seconds until something may, as far as rates are concerned.
            version: The dispatcher's, before it was seen that nothing may.
        """
        if not self._order.is_empty:
            wait = min(wait, self._held.wait(), _KEYED_FETCH_SECONDS)
        self._crowding.look()
        if not self._hand:
            self._hand.found_empty()
            self._full_hand.found_empty()
            if not self._line.is_kept or not self._fetch_next():
                self._fetch(min(_FETCH_SECONDS, wait))
            return
        self._line.step_back()  # the slot that is kept for it there is others'
        if self._hand.look_if_full():
            self._full_hand.wait(version, wait)
            return
        self._full_hand.found_room()
        if self._hand.has_keys:
            self._fetch_beside_keys(wait, version)
        else:
            self._fetch(min(_FETCH_SECONDS, wait))

    def _fetch_beside_keys(self, wait: float, version: int) -> None:
        """Fetch what has arrived already; if nothing has, wait for a key."""
        count = len(self._hand)
        self._fetch(0)
        if len(self._hand) == count:
            self._dispatcher.wait_for_change(version, min(_KEY_SECONDS, wait))

    def _fetch_next(self) -> bool:
        """Fetch what has arrived already; if nothing has, let lower steps have the slots that are kept for this one."""
        self._fetch(0)
        if not self._hand:
            self._line.leave()
        return bool(self._hand)

    def _fetch(self, timeout: float) -> None:
        # As many as can be held, not as there is room for at the moment: until they are here others have ended, so one claim takes
        # more, and what finds no room stands in line and takes slots as soon as they are free.
        limit = min(self._dispatcher.capacity(self._starter.last_task), _MOST_RECORDS)
        if self._hand:
            limit = max(1, min(limit, self._hand.room))
        if not self._late.is_empty():
            timeout = min(timeout, LATE_SECONDS)
        self._sorter.sort(self._fetcher.fetch(limit, timeout))
