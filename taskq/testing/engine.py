"""A worker without threads: takes all that waits, claims it, and runs it where it is told to.

The parts are the worker's own: channel, screen, claim, executor, dead letters. What is missing is what a test must not depend on:
slots, processes, signals, time limits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, cast

from taskq.app import App
from taskq.clock import Clock, unix_ms
from taskq.errors import TaskqError
from taskq.logs import plan_lines
from taskq.memory.logs import Host
from taskq.message import Envelope
from taskq.outcome import Failed, Ignored, Outcome
from taskq.protocols import IntakeChannel, Record
from taskq.request import Request
from taskq.running.calling import Call
from taskq.running.executor import Executor
from taskq.running.runresult import Result
from taskq.testing.inplace import HeldInTests
from taskq.testing.recorder import Recorder
from taskq.testing.runs import Run
from taskq.timing import revocation
from taskq.timing.timers import GROUP, LOG, due_ms
from taskq.timing.timershard import TimerShard
from taskq.worker.aftermath import Aftermath
from taskq.worker.delivery import Delivery
from taskq.worker.moves import Moves
from taskq.worker.outbox import Entry, Outbox
from taskq.worker.refusals import Refusals
from taskq.worker.screening import Early, Expired, Refused, Revoked, Screen
from taskq_kafka.steps import queue_of_source, step_of_source

WORKER = "test"
"""The worker's name in dead letters."""

_MOST_RECORDS = 10_000
"""Records a fetch at most; the rest comes with the next."""


_Claimable: TypeAlias = tuple[IntakeChannel, Delivery]
"""A message that may be run, and where it is claimed."""


class TaskNotRun(TaskqError):
    """A message could not be run: no such task, wrong arguments, unreadable. It is in the dead letters.

    Attributes:
        run: What is known of it.
        reason: The dead letter's reason.
        why: One line.
    """

    def __init__(self, run: Run, reason: str, why: str) -> None:
        super().__init__(
            f"task {run.task!r} [{run.id}] in queue {run.queue!r} was not run ({reason}: {why}); it is in .dead_letters"
        )
        self.run = run
        self.reason = reason
        self.why = why


class NeverIdle(TaskqError):
    """So many tasks ran, and still some wait: does a task send itself?

    Attributes:
        limit: How many ran.
        task: The one that would be next.
    """

    def __init__(self, limit: int, task: str) -> None:
        super().__init__(
            f"{limit} tasks ran and {task!r} is next: does a task send itself without end? "
            "Otherwise call run_until_idle(limit=...) with more"
        )
        self.limit = limit
        self.task = task


class Engine:
    """One call of `run_until_idle`. Belongs to the calling thread."""

    def __init__(self, app: App, recorder: Recorder, clock: Clock, held: HeldInTests) -> None:
        """Prepare; `close` ends it.

        Args:
            app: Stands on `memory://`.
            recorder: Knows in which order tasks were sent.
            clock: The cluster's.
            held: Tasks with a key that wait for their next run.
        """
        self._held = held
        self._waiting: list[tuple[IntakeChannel, Delivery]] = []
        """Fetched, and their keys are busy."""

        self.runs: list[Run] = []
        self._app = app
        self._recorder = recorder
        self._clock = clock
        self._watcher = _Watcher()
        plan = plan_lines()
        app.middleware.append(self._watcher)
        try:
            self._executor = Executor(app, plan, clock)
        finally:
            app.middleware.remove(self._watcher)
        self._aftermath = Aftermath(
            app.registry,
            _DirectOutbox(lambda: app.broker.publisher, lambda: app.broker.logs, clock),
            plan,
            worker=WORKER,
            clock=clock,
            formats=app.formats,
            key_hold=app.settings.key_hold,
        )
        self._revoked = revocation.Revocations()
        self._screen = Screen(app.registry, app.formats, self._revoked)
        # Rounded up: who moves the clock by just a countdown must not have to move it by the rest of a millisecond, too.
        self._host = cast(
            Host, app.broker.logs.host(LOG, GROUP, TimerShard, now_ms=lambda: due_ms(clock.now()))
        )
        self._host.join()
        self._channels: dict[str, IntakeChannel] = {}

    def close(self) -> None:
        """Leave the groups: what was fetched and not claimed waits again."""
        for channel in self._channels.values():
            channel.close()
        self._host.leave()
        self._executor.close()

    def run(self, limit: int) -> None:
        """Run all that waits, in the calling thread; see `claimed`."""
        for delivery in self.claimed(limit):
            prepared = self._executor.prepare(delivery.record)
            if isinstance(prepared, Call):
                self.conclude(delivery, self._executor.run(prepared), prepared)
            else:
                self.conclude(delivery, prepared)

    async def run_async(self, limit: int) -> None:
        """Run all that waits, `async def` tasks on the running loop; see `claimed`."""
        for delivery in self.claimed(limit):
            prepared = self._executor.prepare(delivery.record)
            if not isinstance(prepared, Call):
                self.conclude(delivery, prepared)
            elif prepared.task.is_async:
                self.conclude(delivery, await self._executor.run_async(prepared), prepared)
            else:
                self.conclude(delivery, self._executor.run(prepared), prepared)

    def claimed(self, limit: int) -> Iterator[Delivery]:
        """Claim message after message until none waits: the highest priority step first, within it in the order of sending.

        Raises:
            NeverIdle: More than `limit` would run.
        """
        count = 0
        for channel, delivery in self._turns():
            if count >= limit:
                raise NeverIdle(limit, delivery.task)
            if channel is None or self._claim(channel, delivery):
                count += 1
                self._watcher.forget()
                yield delivery

    def _turns(self) -> Iterator[tuple[IntakeChannel | None, Delivery]]:
        """Yield what is to run next, until nothing is; without a channel what was claimed before an earlier run."""
        is_idle = False
        while not is_idle:
            is_idle = True
            waiting, self._waiting = self._waiting, []
            batch = self._in_order([*waiting, *self._fetch()])
            while batch:
                channel, delivery = batch.pop(0)
                self._read_revoked()  # by a task that ran meanwhile, perhaps
                if delivery.envelope.id in self._revoked:
                    self._drop(channel, Revoked(delivery.record, delivery.envelope))
                elif not self._held.is_busy(delivery):
                    is_idle = False
                    yield channel, delivery
                    # What has just been sent may go before what waits.
                    batch = self._in_order([*batch, *self._fetch_steps()])
                elif not self._held.take_over(channel, delivery, _DirectAcks(channel)):
                    self._waiting.append((channel, delivery))
            for delivery in self._held_and_due():
                is_idle = False
                yield None, delivery
            if not all(self._held.is_busy(delivery) for _, delivery in self._waiting):
                is_idle = False  # what held their key was revoked

    def _held_and_due(self) -> Iterator[Delivery]:
        """Yield what may run again in its place; it was claimed before its first run."""
        self._read_revoked()
        while (delivery := self._held.next_due(due_ms(self._clock.now()))) is not None:
            if delivery.envelope.id not in self._revoked:
                yield delivery
                continue
            if delivery.acks is not None:
                delivery.acks.ack((delivery,))
            self._note(delivery.record, delivery.envelope, Ignored("revoked"))

    def _claim(self, channel: IntakeChannel, delivery: Delivery) -> bool:
        tags = [delivery.record.delivery_tag]
        granted, _ = channel.claim(tags, start=tags if delivery.late else ())
        delivery.acks = _DirectAcks(channel) if delivery.late else None
        delivery.order = self._held if delivery.key is not None else None
        return bool(granted)

    def conclude(self, delivery: Delivery, result: Result, call: Call | None = None) -> None:
        """Do what follows a run, as the worker does.

        Raises:
            BaseException: What the function raised, if it is meant for the process and not for a worker: KeyboardInterrupt, a test
                framework's own.
        """
        seen = self._watcher
        outcome = seen.outcome
        if outcome is None:  # not run
            _, _, _, detail = result
            outcome = Ignored("expired") if detail is None else Failed(str(detail[0]), detail[1])
        self.runs.append(
            Run(
                delivery.task,
                delivery.envelope.id,
                queue_of_source(delivery.record.queue),
                tuple(call.args) if call is not None else (),
                dict(call.kwargs) if call is not None else {},
                outcome,
                seen.error,
            )
        )
        self._aftermath.conclude([(delivery, result)])
        if seen.error is not None and not isinstance(seen.error, (Exception, SystemExit)):
            raise seen.error

    # Fetching

    def _fetch(self) -> list[_Claimable]:
        """Return what waits and can be run, also what had to wait for its time; the rest is written off."""
        self._recorder.note_fired(firing.name for firing in self._host.step())
        found: list[_Claimable] = []
        self._read_revoked()
        for source in self._app.broker.admin.sources(timeout=0):
            found += self._fetch_from(source)
        return self._in_order(found)

    def _fetch_steps(self) -> list[_Claimable]:
        """Return what waits in the priority steps above the lowest."""
        found: list[_Claimable] = []
        for source in self._app.broker.admin.sources(timeout=0):
            if step_of_source(source):
                found += self._fetch_from(source)
        return found

    def _fetch_from(self, source: str) -> Iterator[_Claimable]:
        channel = self._channel(source)
        while records := channel.fetch(_MOST_RECORDS, 0):
            for delivery in self._sort(channel, records):
                yield channel, delivery

    def _in_order(self, found: Iterable[_Claimable]) -> list[_Claimable]:
        place = self._recorder.place

        def order(each: _Claimable) -> tuple[int, int]:
            _, delivery = each
            return -step_of_source(delivery.record.queue), place(delivery.envelope.id)

        return sorted(found, key=order)

    def _read_revoked(self) -> None:
        now_ms = unix_ms(self._clock)
        for record in self._app.broker.logs.read(revocation.LOG, timeout=0):
            self._revoked.apply(record, now_ms)

    def _channel(self, queue: str) -> IntakeChannel:
        if queue not in self._channels:
            self._channels[queue] = channel = self._app.broker.open_channel()
            channel.listen(queue)
        return self._channels[queue]

    def _sort(self, channel: IntakeChannel, records: Sequence[Record]) -> Iterator[Delivery]:
        for record in records:
            verdict = self._screen.judge(record, self._clock.now())
            if isinstance(verdict, Delivery):
                yield verdict
            elif isinstance(verdict, Refused):
                self._refuse(channel, verdict)
            elif isinstance(verdict, Early):
                self._move(channel, verdict)
            else:
                self._drop(channel, verdict)

    def _refuse(self, channel: IntakeChannel, refused: Refused) -> None:
        self._refusals(refused.record.queue).write_off(channel, [refused])
        self._note(refused.record, refused.envelope, Failed(refused.reason, refused.error))

    def _refusals(self, queue: str) -> Refusals:
        return Refusals(
            queue, self._app, stopping=threading.Event(), worker=WORKER, clock=self._clock
        )

    def _move(self, channel: IntakeChannel, early: Early) -> None:
        moves = Moves(
            early.record.queue,
            self._app,
            self._refusals(early.record.queue),
            stopping=threading.Event(),
            clock=self._clock,
        )
        moves.move(channel, [early], lambda: None, lambda: False)

    def _drop(self, channel: IntakeChannel, dropped: Expired | Revoked) -> None:
        channel.settle([dropped.record.delivery_tag])
        why = "expired" if isinstance(dropped, Expired) else "revoked"
        self._note(dropped.record, dropped.envelope, Ignored(why))

    def _note(self, record: Record, envelope: Envelope | None, outcome: Outcome) -> None:
        task, id = (envelope.task, envelope.id) if envelope is not None else ("", "")
        self.runs.append(
            Run(task or "?", id or "?", queue_of_source(record.queue), (), {}, outcome)
        )


class _Watcher:
    """A middleware that keeps what the executor tells of the last run only."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None

    def forget(self) -> None:
        """Be ready for the next run."""
        self.outcome = self.error = None

    def after_run(self, request: Request, outcome: Outcome) -> None:
        """Keep the outcome."""
        self.outcome = outcome

    def on_failure(self, request: Request, error: BaseException) -> None:
        """Keep the error with its traceback."""
        self.error = error

    def on_retry(self, request: Request, error: BaseException) -> None:
        """Keep the error with its traceback."""
        self.error = error


class _DirectAcks:
    """Settles at once what ended. No process dies here."""

    def __init__(self, channel: IntakeChannel) -> None:
        self._channel = channel

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Settle."""
        self._channel.settle([delivery.record.delivery_tag for delivery in deliveries])

    def died(self, delivery: Delivery) -> bool:
        """Have it delivered again."""
        self._channel.release([delivery.record.delivery_tag], died=True)
        return True

    def go_on(self, delivery: Delivery, again: Delivery) -> bool:
        """Take note of a next run: it has the same record."""
        return True


class _DirectOutbox(Outbox):
    """Writes at once, in the calling thread, as the outbox's own thread does."""

    def put(self, entries: Sequence[Entry], then: Callable[[], None] | None = None) -> None:
        """Write.

        Raises:
            TaskqError: Something cannot be written, which a worker would try again for ever.
        """
        super().put(entries, then)
        while held := self.held():
            why = self._write(held)
            if why is not None:
                raise TaskqError(f"{held[0].name} cannot be written: {why}")
