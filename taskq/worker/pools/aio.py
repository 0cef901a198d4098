"""The pool `asyncio`: N `async def` tasks at a time on one event loop; plain `def` tasks each in a thread, one slot each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial

from taskq.calling import Call
from taskq.errortext import error_text
from taskq.executor import Executor
from taskq.logs import log_failure
from taskq.runresult import Result
from taskq.worker.delivery import Delivery
from taskq.worker.pools.crew import Crew
from taskq.worker.pools.inprocess import InProcessPool, escaped
from taskq.worker.pools.protocol import PoolEvents

logger = logging.getLogger(__name__)


class AsyncioPool(InProcessPool):
    """Runs deliveries on an event loop in a thread of its own. A task that blocks there holds up all others of the loop."""

    def __init__(self, slots: int, executor: Executor) -> None:
        super().__init__(slots, executor)
        self._crew = Crew(slots, "taskq-task", executor.close)
        self._loop = asyncio.new_event_loop()
        self._is_closing = False
        # The loop thread's own:
        self._line: deque[Delivery] = deque()
        self._busy = 0
        self._ended: list[tuple[Delivery, Result]] = []
        self._tasks: set[asyncio.Task[Result]] = set()

    def start(self, events: PoolEvents) -> None:
        """Begin to start; see `Pool`."""
        threading.Thread(target=self._serve_loop, name="taskq-asyncio", daemon=True).start()
        super().start(events)

    def send(self, lane: int, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries to a lane; see `Pool`."""
        self._hold(deliveries)
        self._loop.call_soon_threadsafe(self._take, deliveries)

    def _close(self) -> None:
        self._crew.dismiss()
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

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        self._line.extend(deliveries)
        self._fill()

    def _fill(self) -> None:
        while self._line and self._busy < self._slots:
            self._begin(self._line.popleft())

    def _begin(self, delivery: Delivery) -> None:
        self._busy += 1
        prepared = self._prepare(delivery)
        if not isinstance(prepared, Call):
            self._end(delivery, prepared)
            return
        if prepared.task.is_async:
            task = self._loop.create_task(self._executor.run_async(prepared))
            self._tasks.add(task)  # the loop itself keeps no strong reference
            self._calls[delivery] = prepared
            task.add_done_callback(partial(self._end_async, delivery))
        else:
            self._crew.submit(partial(self._run, delivery, prepared))

    def _end_async(self, delivery: Delivery, task: asyncio.Task[Result]) -> None:
        self._tasks.discard(task)
        del self._calls[delivery]
        try:
            result = task.result()
        except BaseException as error:  # noqa: BLE001 - such as the CancelledError of a task that was cancelled before its first step
            result = escaped(error)
        self._end(delivery, result)

    def _run(self, delivery: Delivery, call: Call) -> None:
        try:
            result = self._run_call(delivery, call)
        except BaseException as error:  # noqa: BLE001 - such as a hook of a run that calls sys.exit
            result = escaped(error)
        self._loop.call_soon_threadsafe(self._end, delivery, result)

    def _end(self, delivery: Delivery, result: Result) -> None:
        self._ended.append((delivery, result))
        if len(self._ended) == 1:
            # After all else that is to be done in this round of the loop: what ends in one round is reported at once.
            self._loop.call_soon(self._report_ended)

    def _report_ended(self) -> None:
        ended, self._ended = self._ended, []
        self._busy -= len(ended)
        self._fill()
        self._report(ended)
