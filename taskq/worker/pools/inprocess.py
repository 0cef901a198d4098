"""What the pools without processes share: one lane of N slots, a list of what it holds, and the hooks of the one process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from taskq.errortext import error_text, traceback_text
from taskq.middleware import HookFailed
from taskq.running.calling import Call
from taskq.running.executor import Executor
from taskq.running.runresult import FAILED, Result, revoked
from taskq.worker.delivery import Delivery
from taskq.worker.pools.protocol import PoolEvents

logger = logging.getLogger(__name__)


class InProcessPool:
    """One lane. Its public methods may be called by any thread."""

    uses_main_thread = False
    starts_beside = False

    def __init__(self, slots: int, executor: Executor) -> None:
        """Prepare; nothing is started.

        Args:
            slots: Tasks at a time.
            executor: Runs them.
        """
        self._slots = slots
        self._executor = executor
        self._held: dict[Delivery, None] = {}
        self._calls: dict[Delivery, Call] = {}
        """What may run at the moment."""

        self._is_ready = False
        self._is_stopping = False
        self._has_ended = False
        self._end_guard = threading.Lock()
        self._broken: str | None = None
        self._events: PoolEvents | None = None

    @property
    def widths(self) -> Sequence[int]:
        """The number of slots of each lane."""
        return [self._slots]

    @property
    def is_ready(self) -> bool:
        """Whether every lane has been open once."""
        return self._is_ready

    @property
    def broken(self) -> str | None:
        """Why the pool cannot go on; None while it can."""
        return self._broken

    def start(self, events: PoolEvents) -> None:
        """Run the start hooks in the calling thread, then open the lane."""
        self._events = events
        try:
            self._executor.hooks.call_strictly("worker_process_init")
        except HookFailed as error:
            self._broken = str(error)
            return
        self._is_ready = True
        events.on_lane(0, is_open=True)

    def serve(self) -> None:
        """Return: nothing runs in the main thread."""

    def tick(self) -> None:
        """Do nothing: what is claimed ahead stands in one line for all slots, so none waits behind a slow one."""

    def drop(self, deliveries: Sequence[Delivery]) -> None:
        """Have those end that run and are to end; one that waits for a thread is looked at before it starts. See `Pool`."""
        for delivery in deliveries:
            call = self._calls.get(delivery)
            if call is not None and delivery.is_to_end and self._executor.end(call):
                self._say_ending(delivery, call)

    def _say_ending(self, delivery: Delivery, call: Call) -> None:
        how = (
            "it is cancelled where it awaits"
            if call.task.is_async
            else "Terminated is raised in it; a thread cannot be killed, and a call into C ends first"
        )
        logger.warning(
            "%s was revoked while it runs: %s",
            delivery,
            how,
            extra={"event": "task.terminating", **delivery.fields},
        )

    def unfinished(self) -> list[Delivery]:
        """Return what is handed over and not reported."""
        return list(self._held)

    def shut_down(self) -> None:
        """Let all end after what they hold; see `Pool`."""
        self._is_stopping = True
        self._end_if_idle()

    @property
    def is_down(self) -> bool:
        """Whether everything has ended after `shut_down`."""
        return self._has_ended

    def kill(self) -> None:
        """Do nothing: a thread cannot be ended; the worker ends the process."""

    def _hold(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._held[delivery] = None

    def _execute(self, delivery: Delivery) -> Result:
        """Run a delivery in the calling thread."""
        prepared = self._prepare(delivery)
        if not isinstance(prepared, Call):
            return prepared
        try:
            return self._run_call(delivery, prepared)
        except BaseException as error:  # noqa: BLE001 - the pool's threads must go on
            return escaped(error)

    def _prepare(self, delivery: Delivery) -> Call | Result:
        """Return what is to be run, or the result at once."""
        if delivery.is_revoked:
            return revoked()
        try:
            return self._executor.prepare(delivery.record, delivery.envelope)
        except BaseException as error:  # noqa: BLE001 - such as a decoder of the app's that calls sys.exit
            return escaped(error)

    def _run_call(self, delivery: Delivery, call: Call) -> Result:
        """Run a call in the calling thread, so that it can be ended."""
        self._calls[delivery] = call
        try:
            return self._executor.run(call)
        finally:
            del self._calls[delivery]

    def _report(self, results: Sequence[tuple[Delivery, Result]]) -> None:
        assert self._events is not None, "start() comes first"
        for delivery, _ in results:
            del self._held[delivery]
        self._events.on_results(0, results)
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not self._is_stopping:  # shut_down() looks itself, after it has said so
            return
        with self._end_guard:
            if self._held or self._has_ended:
                return
            self._has_ended = True
        if self._is_ready:
            self._executor.hooks.call("worker_process_shutdown")
        self._close()

    def _close(self) -> None:
        """Let the pool's threads end."""


def escaped(error: BaseException) -> Result:
    """Return the result of a run out of which an exception came that the executor does not catch."""
    return FAILED, 0.0, None, ("failed", error_text(error), traceback_text(error), [])
