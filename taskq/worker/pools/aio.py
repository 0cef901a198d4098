"""The pool `asyncio`: N `async def` tasks at a time on one event loop; plain `def` tasks each in a thread, one slot each."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial

from taskq.executor import Call, Executor, Result
from taskq.worker.delivery import Delivery
from taskq.worker.pools.crew import Crew
from taskq.worker.pools.inprocess import InProcessPool
from taskq.worker.pools.protocol import PoolEvents


class AsyncioPool(InProcessPool):
    """Runs deliveries on an event loop in a thread of its own. A task that blocks there holds up all others of the loop."""

    def __init__(self, slots: int, executor: Executor) -> None:
        super().__init__(slots, executor)
        self._crew = Crew(slots, "taskq-task", executor.close)
        self._loop = asyncio.new_event_loop()
        # The loop thread's own:
        self._line: deque[Delivery] = deque()
        self._busy = 0
        self._tasks: set[asyncio.Task[None]] = set()

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
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        self._line.extend(deliveries)
        self._fill()

    def _fill(self) -> None:
        while self._line and self._busy < self._slots:
            self._begin(self._line.popleft())

    def _begin(self, delivery: Delivery) -> None:
        prepared = self._executor.prepare(delivery.record)
        if not isinstance(prepared, Call):
            self._report(delivery, prepared)
            return
        self._busy += 1
        if prepared.task.is_async:
            task = self._loop.create_task(self._run_async(delivery, prepared))
            self._tasks.add(task)  # the loop itself keeps no strong reference
            task.add_done_callback(self._tasks.discard)
        else:
            self._crew.submit(partial(self._run, delivery, prepared))

    async def _run_async(self, delivery: Delivery, call: Call) -> None:
        self._end(delivery, await self._executor.run_async(call))

    def _run(self, delivery: Delivery, call: Call) -> None:
        result = self._executor.run(call)
        self._loop.call_soon_threadsafe(self._end, delivery, result)

    def _end(self, delivery: Delivery, result: Result) -> None:
        self._busy -= 1
        self._report(delivery, result)
        self._fill()
