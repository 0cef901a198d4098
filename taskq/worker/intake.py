"""One queue's thread: it owns the queue's channel, which nobody else calls, and opens another when one breaks.

What it does with a channel is in intakeloop.py.
"""

from __future__ import annotations

import logging
import threading

from taskq.app import App
from taskq.clock import Clock
from taskq.errors import BrokerUnreachable
from taskq.errortext import one_line
from taskq.protocols import IntakeStatus
from taskq.timing.revocation import Revocations
from taskq.worker.claimwatch import OpenClaim
from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.health import Pulse
from taskq.worker.intakeloop import IntakeLoop
from taskq.worker.intakeparts import intake_parts
from taskq.worker.metrics import IntakeFacts
from taskq.worker.outbox import Outbox
from taskq_kafka.steps import step_of_source

logger = logging.getLogger(__name__)

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
        self._parts = intake_parts(
            queue,
            app,
            dispatcher,
            outbox,
            step=self.step,
            worker=worker,
            clock=clock,
            revoked=Revocations() if revoked is None else revoked,
        )
        self._app = app
        self._dispatcher = dispatcher
        self._clock = clock
        self._progress = self._parts.progress
        self._claims = self._parts.claims
        self._stopping = self._parts.stopping
        self._loop: IntakeLoop | None = None
        """Of the present channel, as long as that is open. Replaced by the thread."""

        self._backoff = _FIRST_BACKOFF
        self._thread = threading.Thread(target=self._run, name=f"taskq-intake-{queue}", daemon=True)

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
        self._parts.giving_up.set()

    def let_go(self) -> None:
        """Wait for nothing that settles late any longer: give it back and leave the group; returns at once."""
        self._parts.letting_go.set()
        loop = self._loop
        if loop is not None:
            loop.wake()

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, at most `timeout` seconds."""
        self._thread.join(timeout)

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    @property
    def holds_late(self) -> bool:
        """Whether the thread has to stay in its group for what is at work: it is settled afterwards, or its key is held."""
        loop = self._loop
        holds = not self._parts.order.is_empty if loop is None else loop.holds_late
        return self.is_running and holds

    @property
    def status(self) -> IntakeStatus:
        """The channel's place in the group, as of the last fetch."""
        loop = self._loop
        return IntakeStatus() if loop is None else loop.status

    @property
    def in_hand(self) -> int:
        """How many records were fetched and wait to be claimed."""
        return len(self._parts.hand)

    @property
    def pulse(self) -> Pulse:
        """What health is judged by."""
        claim, waits_for = self.open_claim, self._progress.waits_for
        if claim is not None:
            waits_for = f"a claim of {claim.count} record{'s' if claim.count != 1 else ''}"
        loop = self._loop
        # A step's topic may appear at any time, and joining its group must not take a worker out of service that works.
        is_joined = self.step > 0 or (loop is not None and loop.is_joined)
        return Pulse(self.queue, self.is_running, self._progress.moved, waits_for, is_joined)

    @property
    def facts(self) -> IntakeFacts:
        """What its metrics are made of."""
        refusals = self._parts.refusals
        return IntakeFacts(
            self.status,
            self.pulse,
            self.in_hand,
            claimed=self._claims.granted,
            unwritten=refusals.blocked.keys(),
            refused=refusals.written.copy(),
        )

    def claiming(self) -> list[Delivery]:
        """Return what a claim is under way for: if the process ends now, it may be claimed and will not run."""
        return self._claims.under_way()

    @property
    def open_claim(self) -> OpenClaim | None:
        """The claim that is under way, if one is."""
        return self._claims.open_claim

    @property
    def lost(self) -> int:
        """How many deliveries were lost to claims that got no definite answer; each was named in the log."""
        return self._claims.lost

    # The thread

    def _run(self) -> None:
        try:
            self._serve_until_stopped()
        finally:
            self._parts.keyed.hand_on(self._parts.order.close())

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

    def _serve(self) -> None:
        """Open a channel and take from it until the worker stops or the channel breaks."""
        with self._progress.waiting_for("a connection"):
            channel = self._app.broker.open_channel()
        loop = self._loop = IntakeLoop(channel, self._parts)
        try:
            loop.listen()
            while not self._stopping.is_set():
                loop.step()
                self._backoff = _FIRST_BACKOFF
            loop.finish()
        finally:
            loop.close()
            self._loop = None

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
        self._progress.move()
        self._clock.wait(self._stopping, seconds)
