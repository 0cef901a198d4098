"""A thread that sends tasks for as long as faults happen, always some more than have started."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

from taskq import App, AsyncResult
from taskq.errors import BrokerUnreachable, PublishFailed
from tests.scenarios.apps.faults import register
from tests.support.waiting import moment

BACKLOG = 6000
"""Tasks that wait: enough for every worker to claim ahead whenever it can."""

BRIEF_MS = (5, 50)
BATCH = {"tiny": 1200, "tiny_among_slow": 300, "tiny_late": 100, "brief": 20, "slow": 1}
"""Tasks of each kind that are sent at a time. A slot that holds a long one claims nothing ahead: there must be few of these, and
more of the short ones than a slot may hold."""


class Sender:
    """Sends until it is stopped. What the broker acknowledged must run; what it did not may."""

    def __init__(self, bootstrap: str, seed: int, started: Callable[[], int]) -> None:
        """Prepare.

        Args:
            bootstrap: The broker's address.
            seed: For the lengths of tasks.
            started: Returns how many tasks have started.
        """
        self.sent: dict[str, float] = {}
        """Acknowledged tasks, and when they were."""

        self.late: set[str] = set()
        """Those of all that settle after their run."""

        self.unknown: set[str] = set()
        """Tasks whose sending failed, though they may have been sent."""

        self._started = started
        self._dice = random.Random(seed)
        self._app = App("sender", broker=bootstrap)
        self._load = register(self._app)
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more; blocks until what was under way is decided. Raises what ended the sending before, if something did."""
        self._stopping.set()
        self._thread.join()
        self._app.broker.close()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                if len(self.sent) - self._started() < BACKLOG:
                    self._send_batch()
                else:
                    self._stopping.wait(0.02)
        except Exception as failure:  # noqa: BLE001 - given to whoever stops it
            self._failure = failure

    def _send_batch(self) -> None:
        low, high = BRIEF_MS
        briefs = [(self._dice.randint(low, high) / 1000,) for _ in range(BATCH["brief"])]
        load = self._load
        self._send(load.tiny.delay_many, [()] * BATCH["tiny"])
        self._send(load.tiny_among_slow.delay_many, [()] * (BATCH["tiny_among_slow"] // 2))
        half = len(briefs) // 2
        self._send(load.brief.delay_many, briefs[:half])
        self._send(load.brief_late.delay_many, briefs[half:], late=True)
        self._send(load.tiny_late.delay_many, [()] * BATCH["tiny_late"], late=True)
        self._send(load.slow.delay_many, [()] * BATCH["slow"])
        self._send(load.slow_late.delay_many, [()] * BATCH["slow"], late=True)
        self._send(load.tiny_among_slow.delay_many, [()] * (BATCH["tiny_among_slow"] // 2))

    def _send(
        self,
        delay_many: Callable[[Sequence[Sequence[Any]]], list[AsyncResult[None]]],
        calls: Sequence[Sequence[Any]],
        *,
        late: bool = False,
    ) -> None:
        try:
            sent = delay_many(calls)
        except PublishFailed as error:
            sent = error.sent
            if error.maybe_sent:
                self.unknown.update(result.id for result in error.failed)
                if late:
                    self.late.update(result.id for result in error.failed)
        except BrokerUnreachable:
            return
        now = moment()
        if late:  # before they count as sent
            self.late.update(result.id for result in sent)
        self.sent.update((result.id, now) for result in sent)
