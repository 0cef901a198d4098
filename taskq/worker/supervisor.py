"""A worker from its start to its exit code: broker, pool, intakes, signals, stop.

The supervisor runs in the main thread; with the pool `solo` the main thread runs the tasks, and the supervisor has a thread of its
own. It decides when what starts and ends, and touches no record.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from enum import Enum
from typing import NoReturn

from taskq.app import App
from taskq.clock import Clock
from taskq.exitcodes import FAILED, FINE, SIGNALLED
from taskq.logs import TEXT, LogPlan, quiet_client
from taskq.middleware import Hooks
from taskq.timing.hostthread import timekeeper
from taskq.worker.aftermath import Aftermath
from taskq.worker.banner import Place, banner, banner_fields
from taskq.worker.claimwatch import ClaimWatch
from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.health import Answer, Stage, liveness, readiness
from taskq.worker.intake import Intake
from taskq.worker.intakes import Intakes
from taskq.worker.metrics import CONTENT_TYPE, WorkerFacts, exposition
from taskq.worker.options import WorkerOptions
from taskq.worker.outbox import Outbox
from taskq.worker.pools.protocol import Pool
from taskq.worker.rates import Rates
from taskq.worker.revocations import RevocationReader
from taskq.worker.signals import STOP_SIGNALS, Signals
from taskq.worker.startcheck import StartCheck
from taskq.worker.stepfinder import StepFinder
from taskq.worker.trimmer import Trimmer
from taskq_kafka.steps import queue_of_source

logger = logging.getLogger(__name__)

_TICK = 0.05
"""Seconds between two looks at the pool. A call-back behind a slow task is at most this late."""

_SHORT_TICK = 0.02
"""The same while starting and stopping: this much may be added to either."""

_JOIN_SECONDS = 5.0
"""How long the line that says it is ready waits for the groups to be joined."""

_SHUTDOWN_SECONDS = 5.0
"""For pool processes to end, with their shutdown hooks, after their last task; and for intakes to leave their groups then."""

_LET_GO_SECONDS = 2.0
"""For the timekeeper to let go of its shards; a broker that is away hears nothing of it, and the shards' heirs need not."""

_GIVE_UP_BEFORE = 1.0
"""Seconds before the end of the grace at which claims without an answer are given up, so that they can be named in time."""


class _Phase(Enum):
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    ENDING = "ending"


_STAGES = {
    _Phase.STARTING: Stage.STARTING,
    _Phase.RUNNING: Stage.RUNNING,
    _Phase.DRAINING: Stage.STOPPING,
    _Phase.ENDING: Stage.STOPPING,
}


class Worker:
    """One worker process. `run` is called once, in the main thread."""

    def __init__(
        self,
        app: App,
        options: WorkerOptions,
        pool: Pool,
        plan: LogPlan,
        *,
        version: str,
        clock: Clock,
        exit_now: Callable[[int], NoReturn] = os._exit,
    ) -> None:
        """Put the parts together; nothing is started or connected.

        Args:
            app: With all its tasks and settings.
            options: What it is to do.
            pool: Runs its tasks.
            plan: How log lines are made.
            version: Of taskq, for the banner.
            clock: For everything that waits.
            exit_now: Ends the process where the main thread is stuck in a task.
        """
        self._app = app
        self._options = options
        self._pool = pool
        self._version = version
        self._clock = clock
        self._exit_now = exit_now
        self._hooks = Hooks(app.middleware)
        self._outbox = Outbox(lambda: app.broker.publisher, lambda: app.broker.logs, clock)
        aftermath = self._aftermath = Aftermath(
            *(app.registry, self._outbox, plan),
            worker=options.name,
            clock=clock,
            formats=app.formats,
            key_hold=app.settings.key_hold,
        )
        self._dispatcher = Dispatcher(
            pool,
            claim_ahead=options.claim_ahead,
            conclude=aftermath.conclude,
            clock=clock,
            rates=Rates({task.name: task.rate for task in app.registry if task.rate}),
        )
        self._revocations = RevocationReader(app.broker, clock)
        self._intakes = Intakes(self._intake, options.queues, clock)
        self._start_check = StartCheck(app, options.queues, options.strange)
        self._step_finder = StepFinder(app.broker, options.queues, clock=clock)
        self._claim_watch = ClaimWatch()
        self._timekeeper = timekeeper(app.broker, clock) if options.timers else None
        self._trimmer = Trimmer(
            app.broker,
            self._intakes.with_first_partition,
            keep=app.settings.keep_finished,
            clock=clock,
        )
        self._phase = _Phase.STARTING
        self._since = 0.0
        self._is_greeted = False
        self._partitions: Mapping[str, int] | None = None
        self._protocol = ""
        self._is_broken = False
        self._code = FINE
        self._served = threading.Event()

    def _intake(self, source: str) -> Intake:
        return Intake(
            source,
            self._app,
            self._dispatcher,
            self._outbox,
            worker=self._options.name,
            clock=self._clock,
            revoked=self._revocations.revoked,
        )

    def run(self, signals: Signals) -> int:
        """Work until a signal comes or the pool breaks; return the exit code.

        Args:
            signals: Entered, in the main thread.

        Raises:
            BrokerUnreachable: No broker answered within `connect_timeout` seconds at the start.
            UsageError: A queue has no topic, and none is to be made, that of the timers would lose what waits, or nobody
                can listen where `health` says.
        """
        signals.calm()
        self._answer_probes()
        code = self._prepare(signals)
        if code is not None:
            return code
        self._outbox.start()
        if not self._pool.uses_main_thread:
            return self._supervise(signals)
        self._pool.start(self._dispatcher)
        thread = threading.Thread(
            target=self._supervise_beside, args=(signals,), name="taskq-supervisor", daemon=True
        )
        thread.start()
        self._pool.serve()
        self._served.set()
        thread.join()
        return self._code

    def _answer_probes(self) -> None:
        place = self._options.health
        if place is None:
            return
        from taskq.worker.probes import Probes  # no worker without probes needs an HTTP server

        Probes(
            place,
            {
                "/healthz": lambda: liveness(
                    _STAGES[self._phase], self._intakes.pulses, self._clock.monotonic()
                ),
                "/readyz": lambda: readiness(_STAGES[self._phase], self._intakes.pulses),
                "/metrics": lambda: Answer(True, exposition(self._facts()), CONTENT_TYPE),
            },
        ).start()

    def _facts(self) -> WorkerFacts:
        dispatcher = self._dispatcher
        return WorkerFacts(
            slots=dispatcher.slots,
            busy=dispatcher.busy,
            unfinished=len(dispatcher.unfinished()),
            held=self._outbox.count,
            ended=self._aftermath.ended.total(),
            letters=self._aftermath.letters.total(),
            intakes=self._intakes.facts,
            now=self._clock.monotonic(),
        )

    def _prepare(self, signals: Signals) -> int | None:
        """Ask the broker what is to be known. Processes start meanwhile: both take a few tenths of a second.

        Returns:
            The exit code, if a signal came: nothing was taken yet, so that there is nothing to finish.
        """
        try:
            if self._pool.starts_beside:
                self._pool.start(self._dispatcher)
            asked = self._wait_for_broker(signals)
        except BaseException:
            self._abandon(signals)
            raise
        if asked is None:
            return None
        logger.info("stopped before it was ready", extra={"event": "worker.stopped"})
        again = self._abandon(signals)
        if again is not None:
            return SIGNALLED + again
        return FINE if asked in STOP_SIGNALS else SIGNALLED + asked

    def _wait_for_broker(self, signals: Signals) -> int | None:
        """Prepare the broker in a thread, because a client that waits for one hears no signal; return the signal that came."""
        prepared: Future[None] = Future()

        def prepare() -> None:
            try:
                self._prepare_broker()
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                prepared.set_exception(error)
            else:
                prepared.set_result(None)
            signals.wake()

        # A daemon: whoever stops while it waits for a broker ends without it.
        threading.Thread(target=prepare, name="taskq-preparation", daemon=True).start()
        while not prepared.done():
            for number in signals.wait(None):
                return number
        prepared.result()
        return None

    def _abandon(self, signals: Signals) -> int | None:
        """End what was started before anything was taken; return the signal by which that was cut short."""
        self._revocations.stop()
        again = self._end_pool(signals) if self._pool.starts_beside else None
        if again is None:
            self._revocations.join(_LET_GO_SECONDS)
        return again

    def _end_pool(self, signals: Signals) -> int | None:
        """End the pool in order: what is left behind in its start would complain. Return the signal that came meanwhile."""
        end = self._clock.monotonic() + _SHUTDOWN_SECONDS
        try:
            self._pool.shut_down()
            while not self._pool.is_down and self._clock.monotonic() < end:
                for number in signals.wait(_SHORT_TICK):  # a pool tells of its end only when asked
                    return number
            return None
        finally:
            self._pool.kill()

    def _prepare_broker(self) -> None:
        broker = self._app.broker
        with quiet_client():
            broker.check()
        self._revocations.start()
        self._partitions = self._start_check.check_queues()
        self._step_finder.look()
        self._intakes.add(self._step_finder.take_found())
        with broker.errors():
            self._protocol = broker.admin.group_protocol()
        if self._options.timers:
            self._start_check.check_timers()

    # The loop

    def _supervise_beside(self, signals: Signals) -> None:
        self._code = FAILED
        try:
            self._code = self._supervise(signals)
        finally:
            self._pool.kill()
            if not self._served.wait(_SHUTDOWN_SECONDS if self._code == FINE else 0.2):
                with contextlib.suppress(Exception):  # it may be None, or the app's own
                    sys.stderr.flush()
                self._exit_now(self._code)

    def _supervise(self, signals: Signals) -> int:
        try:
            return self._loop(signals)
        except Exception as error:
            # The loop's door. The interpreter must not end by itself under threads that are inside librdkafka: it would crash, and
            # what was claimed would not be named.
            logger.exception("the worker's main loop failed", extra={"event": "worker.failed"})
            _say_broken(f"{type(error).__name__} in the main loop")
            self._intakes.stop()
            return self._end_at_once(FAILED)

    def _loop(self, signals: Signals) -> int:
        if not self._pool.uses_main_thread and not self._pool.starts_beside:
            self._pool.start(self._dispatcher)
        self._enter(_Phase.STARTING)
        while True:
            for number in signals.wait(self._tick_seconds()):
                if number not in STOP_SIGNALS or self._phase in (_Phase.DRAINING, _Phase.ENDING):
                    return self._end_at_once(SIGNALLED + number)
                logger.info(
                    "stopping: takes no more, finishes what it has within %g s; a second signal ends it at once",
                    self._options.grace,
                    extra={"event": "worker.stopping"},
                )
                self._drain()
            self._pool.tick()
            self._dispatcher.drop_revoked(self._revocations.revoked)
            self._watch_claims()
            code = self._next()
            if code is not None:
                return code

    def _tick_seconds(self) -> float:
        return _TICK if self._phase is _Phase.RUNNING else _SHORT_TICK

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        self._since = self._clock.monotonic()

    def _next(self) -> int | None:
        """Go on to the next phase if it is time; return the exit code at the end."""
        why = self._pool.broken
        if why is not None and not self._is_broken and self._phase is not _Phase.ENDING:
            code = self._break(why)
            if code is not None:
                return code
        elapsed = self._clock.monotonic() - self._since
        if self._phase is _Phase.STARTING:
            if self._pool.is_ready and self._revocations.is_ready:
                self._begin()
        elif self._phase is _Phase.RUNNING:
            self._take_steps()
            if not self._is_greeted:
                self._greet(elapsed)
        elif self._phase is _Phase.DRAINING:
            return self._next_while_draining(elapsed)
        else:
            return self._next_while_ending(elapsed)
        return None

    def _begin(self) -> None:
        self._print_banner()
        self._intakes.start()
        if self._timekeeper is not None:
            self._timekeeper.start()
        self._trimmer.start()
        self._step_finder.start()
        self._enter(_Phase.RUNNING)

    def _take_steps(self) -> None:
        """Take from steps whose topics have appeared, too."""
        for source in self._step_finder.take_found():
            logger.info(
                "queue %s has priorities now: takes from %s, too",
                queue_of_source(source),
                source,
                extra={"event": "steps.found", "queue": source},
            )
            for intake in self._intakes.add([source]):
                intake.start()

    def _print_banner(self) -> None:
        """Print it before anything is taken, so that no task's line comes first."""
        if self._app.settings.log_format == TEXT:
            _show(banner(self._options, self._app.registry, self._place(self._protocol)))

    def _greet(self, elapsed: float) -> None:
        """Say that it is ready and call the hook, once the groups are joined or that takes too long."""
        statuses = self._intakes.statuses
        if elapsed < _JOIN_SECONDS and not all(status.assigned for status in statuses):
            return
        self._is_greeted = True
        protocols = sorted({status.protocol for status in statuses if status.protocol})
        place = self._place(", ".join(protocols))
        self._hooks.call("worker_ready")
        fields = banner_fields(self._options, self._app.registry, place)
        logger.info("ready", extra={"event": "worker.ready", **fields})

    def _place(self, protocol: str) -> Place:
        settings = self._app.settings
        return Place(
            version=self._version,
            broker=str(self._app.broker.address),
            group=settings.prefix + settings.group,
            protocol=protocol,
            partitions=self._partitions or {},
            steps=self._intakes.steps,
        )

    def _watch_claims(self) -> None:
        self._claim_watch.look(self._intakes.open_claims(), self._clock.monotonic())

    # Stopping

    def _drain(self) -> None:
        self._enter(
            _Phase.DRAINING
        )  # first: from here on a thread that has ended is as it should be
        self._step_finder.stop()
        self._trimmer.stop()
        self._intakes.stop()
        if self._timekeeper is not None:
            self._timekeeper.stop()  # before what runs has ended: others take over the waiting tasks at once

    def _next_while_draining(self, elapsed: float) -> int | None:
        intakes_run = self._intakes.are_running
        claims_run = bool(self._intakes.claiming())
        if self._dispatcher.is_idle and self._outbox.is_empty and not claims_run:
            # What an intake still does is leaving its group, which may wait for a broker that is away.
            late_run = self._intakes.hold_late
            patience = min(_SHUTDOWN_SECONDS, self._options.grace)
            if not intakes_run or (elapsed > patience and not late_run):
                self._revocations.stop()  # not before: what holds up the end may be revoked
                self._pool.shut_down()
                self._enter(_Phase.ENDING)
                return None
            if not late_run:
                return None
        if elapsed >= self._options.grace - _GIVE_UP_BEFORE:
            self._intakes.give_up()
        if elapsed >= self._options.grace:
            logger.error(
                "the grace of %g s is over", self._options.grace, extra={"event": "worker.killed"}
            )
            return self._end_at_once(FAILED)
        return None

    def _next_while_ending(self, elapsed: float) -> int | None:
        if not self._pool.is_down and elapsed < _SHUTDOWN_SECONDS:
            return None
        if not self._pool.is_down:
            logger.warning(
                "pool processes do not end after their last task; they are killed",
                extra={"event": "pool.stuck"},
            )
            self._pool.kill()
        if self._keeps_time and elapsed < _LET_GO_SECONDS:
            return None
        self._outbox.close()
        self._hooks.call("worker_shutdown")
        lost = self._intakes.lost
        logger.info("stopped", extra={"event": "worker.stopped"})
        return FAILED if lost or self._is_broken else FINE

    @property
    def _keeps_time(self) -> bool:
        return self._timekeeper is not None and self._timekeeper.is_running

    def _break(self, why: str) -> int | None:
        """Stop because the pool cannot go on: what its healthy lanes run has its grace. Return the code if nothing runs yet."""
        self._is_broken = True
        _say_broken(why)
        if self._phase is _Phase.STARTING:
            return self._end_at_once(FAILED)
        if self._phase is _Phase.RUNNING:
            self._drain()
        return None

    def _end_at_once(self, code: int) -> int:
        """Kill what runs and name what is lost."""
        self._revocations.stop()
        self._pool.kill()
        self._intakes.let_go()
        claiming = self._intakes.claiming()
        _name_lost(self._dispatcher.unfinished(), "claimed and not finished")
        _name_lost(claiming, "its claim got no answer, so it may be claimed and does not run")
        for entry in self._outbox.held():
            extra = {"event": "outbox.lost", **entry.fields}
            logger.error("lost: %s was not written", entry.name, extra=extra)
        self._outbox.close()
        return code


def _show(text: str) -> None:
    """Print to stderr. Where there is none the text is lost, and the worker works: print() would take stdout for None."""
    if sys.stderr is not None:
        with contextlib.suppress(
            Exception
        ):  # a pipe that nobody reads any more, or a stream of the app's
            print(text, file=sys.stderr, flush=True)


def _say_broken(why: str) -> None:
    logger.critical("%s; the worker stops", why, extra={"event": "worker.broken"})


def _name_lost(deliveries: list[Delivery], why: str) -> None:
    for delivery in deliveries:
        if not delivery.late:  # such a one comes again
            logger.error(
                "lost: %s: %s", delivery, why, extra={"event": "task.lost", **delivery.fields}
            )
