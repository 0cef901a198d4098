"""An app on `memory://` for the length of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from taskq.app import App, default_app
from taskq.errors import UsageError
from taskq.letters.deadletters import DeadLetterView, read_dead_letter
from taskq.memory import MovableClock, cluster_named, forget_cluster
from taskq.message import new_task_id
from taskq.middleware import HookFailed, Hooks
from taskq.testing.engine import Engine, TaskNotRun
from taskq.testing.inplace import HeldInTests
from taskq.testing.recorder import Recorder, Sent, recording_broker
from taskq.testing.runs import Run

LIMIT = 10_000
"""Tasks that `run_until_idle` runs at most."""


class AppOnMemory:
    """What a test has of an app on `memory://`. One thread at a time runs tasks; any may send them."""

    def __init__(self, app: App, recorder: Recorder, clock: MovableClock) -> None:
        """Take an app that stands on `memory://`; users call `on_memory` or take the fixture `taskq_app` instead."""
        self.app = app
        """The app."""

        self.clock = clock
        """The time of broker and worker: goes on by itself, and `advance(seconds)` moves it forward."""

        self._recorder = recorder
        self._held = HeldInTests()
        self._has_begun = False

    @property
    def sent(self) -> list[Sent]:
        """All that was sent and acknowledged so far, in that order; also by tasks, and what follows them."""
        return list(self._recorder.sent)

    @property
    def dead_letters(self) -> list[DeadLetterView]:
        """The dead letters of all queues, oldest first."""
        admin = self.app.broker.admin
        queues = admin.dead_letter_queues(timeout=0)
        letters = [letter for queue in queues for letter in admin.dead_letters(queue, timeout=0)]
        letters.sort(key=lambda letter: self._recorder.letter_place(letter.id))
        return [read_dead_letter(letter) for letter in letters]

    def run_until_idle(self, *, raise_errors: bool = True, limit: int = LIMIT) -> list[Run]:
        """Run all tasks that wait, in all queues, and those that they send, in the calling thread, until none waits.

        They run one after the other: the highest priority step first, within it in the order in which they were sent. Each is
        claimed before it starts, and what fails goes to the dead letters, as with a worker.

        Args:
            raise_errors: Whether to raise, when all have run, what the first one that failed has raised.
            limit: Of so many tasks one must be the last.

        Returns:
            What ran, in that order.

        Raises:
            TaskNotRun: With `raise_errors`: the first that failed was not run at all.
            NeverIdle: `limit` tasks ran, and more wait.
            UsageError: An event loop runs in this thread: await `arun_until_idle`.
        """
        __tracebackhide__ = True
        if _is_loop_running():
            raise UsageError(
                "run_until_idle() was called where an event loop runs: write `await taskq_app.arun_until_idle()`"
            )
        with self._engine() as engine:
            engine.run(limit)
        return _judged(engine.runs, raise_errors=raise_errors)

    async def arun_until_idle(self, *, raise_errors: bool = True, limit: int = LIMIT) -> list[Run]:
        """Do what `run_until_idle` does, with `async def` tasks on the running event loop, one after the other."""
        __tracebackhide__ = True
        with self._engine() as engine:
            await engine.run_async(limit)
        return _judged(engine.runs, raise_errors=raise_errors)

    def _end(self) -> None:
        """Call the hooks with which a worker's process ends, if it has begun."""
        if self._has_begun:
            Hooks(self.app.middleware).call("worker_process_shutdown")

    @contextmanager
    def _engine(self) -> Iterator[Engine]:
        self._begin()
        engine = Engine(self.app, self._recorder, self.clock, self._held)
        try:
            yield engine
        finally:
            engine.close()

    def _begin(self) -> None:
        """Call the hooks with which a worker's process begins, before the first task."""
        if self._has_begun:
            return
        try:
            Hooks(self.app.middleware).call_strictly("worker_process_init")
        except HookFailed as error:
            raise error.__cause__ or error from None
        self._has_begun = True


@contextmanager
def on_memory(app: App = default_app) -> Iterator[AppOnMemory]:
    """Put an app on a `memory://` of its own within the block: nothing is there before, nothing is left after.

    The app's settings stay as they are, but for `broker` and `auto_create`; what `configure` changes within the block is undone.

    Args:
        app: By default the default app, that of `from taskq import task`.
    """
    name = f"testing-{new_task_id()}"
    recorder = Recorder()
    clock = cluster_named(name).clock
    make_broker = recording_broker(recorder, lambda: app.formats)
    try:
        with app.standing_in(make_broker, broker=f"memory://{name}", auto_create=True):
            testing = AppOnMemory(app, recorder, clock)
            try:
                yield testing
            finally:
                testing._end()
    finally:
        forget_cluster(name)


def _judged(runs: list[Run], *, raise_errors: bool) -> list[Run]:
    __tracebackhide__ = True  # pytest then shows the test's line, and the task's
    failed = next((run for run in runs if run.has_failed), None) if raise_errors else None
    if failed is None:
        return runs
    if failed.error is not None:
        raise failed.error
    outcome = failed.outcome
    raise TaskNotRun(failed, getattr(outcome, "reason", ""), getattr(outcome, "error", ""))


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
