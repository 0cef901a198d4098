"""The pool `asyncio`: N tasks at a time, `async def` ones on one event loop, plain functions in threads as in the pool `threads`.

The two kinds share the slots and the line before them. A plain function's way does not lead over the loop: a thread that has ended
one goes on with the next in line. Only where the kind changes is a slot handed over, from a thread to the loop or back.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import Sequence
from functools import partial

from taskq.errortext import error_text
from taskq.logs import log_failure
from taskq.running.calling import Call
from taskq.running.executor import Executor
from taskq.running.runresult import Result
from taskq.worker.delivery import Delivery
from taskq.worker.pools.inprocess import escaped
from taskq.worker.pools.protocol import PoolEvents
from taskq.worker.pools.threads import ThreadsPool

logger = logging.getLogger(__name__)


class AsyncioPool(ThreadsPool):
    """Has an event loop in a thread of its own beside the crew. A task that blocks there holds up all others of the loop."""

    def __init__(self, slots: int, executor: Executor) -> None:
        super().__init__(slots, executor)
        self._loop = asyncio.new_event_loop()
        # Or what comes from a thread would run with the context variables that plain functions have left in that thread.
        self._context = contextvars.Context()
        self._is_closing = False
        # The loop thread's own:
        self._ended: list[tuple[Delivery, Result]] = []
        self._tasks: set[asyncio.Task[Result]] = set()

    def start(self, events: PoolEvents) -> None:
        """Begin to start; see `Pool`."""
        threading.Thread(target=self._serve_loop, name="taskq-asyncio", daemon=True).start()
        super().start(events)

    def _close(self) -> None:
        super()._close()
        self._is_closing = True
        with contextlib.suppress(
            RuntimeError
        ):  # closed already: an exception came out of it in this moment
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._is_closing:
            try:
                self._loop.run_forever()
            except BaseException as error:  # noqa: BLE001 - the loop's door
                # asyncio lets SystemExit and KeyboardInterrupt out of the loop, whoever's they are: here, of something that a task
                # left running. The loop goes on where it was.
                log_failure(
                    logger,
                    "%s in something that a task left on the event loop; the loop goes on",
                    error_text(error),
                    extra={"event": "pool.interrupted"},
                )
        self._loop.close()

    # For any thread

    def _start(self, deliveries: Sequence[Delivery]) -> None:
        on_loop = self._start_plain(deliveries)
        if on_loop:
            self._loop.call_soon_threadsafe(self._begin, on_loop, context=self._context)

    def _start_plain(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Have the plain functions among deliveries run; return the others."""
        is_async = self._executor.is_async
        on_loop = [each for each in deliveries if is_async(each.task)]
        if len(on_loop) < len(deliveries):
            super()._start([each for each in deliveries if not is_async(each.task)])
        return on_loop

    def _next(self) -> Delivery | None:
        following = super()._next()
        if following is None or not self._executor.is_async(following.task):
            return following
        self._start([following])
        return None

    # For the loop's thread

    def _begin(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            prepared = self._prepare(delivery)
            if not isinstance(prepared, Call):
                self._end(delivery, prepared)
                continue
            task = self._loop.create_task(self._executor.run_async(prepared))
            self._tasks.add(task)  # the loop itself keeps no strong reference
            self._calls[delivery] = prepared
            task.add_done_callback(partial(self._end_async, delivery))

    def _end_async(self, delivery: Delivery, task: asyncio.Task[Result]) -> None:
        self._tasks.discard(task)
        del self._calls[delivery]
        try:
            result = task.result()
        except BaseException as error:  # noqa: BLE001 - such as the CancelledError of a task that was cancelled before its first step
            result = escaped(error)
        self._end(delivery, result)

    def _end(self, delivery: Delivery, result: Result) -> None:
        self._ended.append((delivery, result))
        if len(self._ended) == 1:
            # After all else that is to be done in this round of the loop: what ends in one round is reported at once.
            self._loop.call_soon(self._report_ended)

    def _report_ended(self) -> None:
        ended, self._ended = self._ended, []
        self._begin(self._start_plain(self._line.leave(len(ended))))
        self._report(ended)
