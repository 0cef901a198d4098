"""The load of the fault lab: tasks of microseconds, of milliseconds and of half a second, each with a line before and one after.

Some of each length settle after their run (`acks_late`), in a queue with others that settle before it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from taskq import App, Task
from taskq.request import current_request
from tests.support.ledger import Ledger
from tests.support.waiting import moment, pause

WORKER = "tests.scenarios.apps.faultworker"
"""The module that workers are given."""

LEDGER = "FAULTS_LEDGER"
"""The variable that names the ledger's file."""

QUEUES = ("fast", "mixed")
STARTED, ENDED = "started", "ended"

SLOW_SECONDS = 0.5


@dataclass(frozen=True)
class Load:
    """The tasks, registered on one app: the workers' or a sender's."""

    tiny: Task[[], None, None]
    tiny_among_slow: Task[[], None, None]
    brief: Task[[float], None, None]
    slow: Task[[], None, None]
    tiny_late: Task[[], None, None]
    brief_late: Task[[float], None, None]
    slow_late: Task[[], None, None]


def register(app: App) -> Load:
    """Register the tasks on an app."""

    @app.task("tiny", queue="fast")
    def tiny() -> None:
        _run(0.0)

    @app.task("tiny_among_slow", queue="mixed")
    def tiny_among_slow() -> None:
        _run(0.0)

    @app.task("brief", queue="mixed")
    def brief(seconds: float) -> None:
        _run(seconds)

    @app.task("slow", queue="mixed")
    def slow() -> None:
        _run(SLOW_SECONDS)

    @app.task("tiny_late", queue="mixed", acks_late=True)
    def tiny_late() -> None:
        _run(0.0)

    @app.task("brief_late", queue="mixed", acks_late=True)
    def brief_late(seconds: float) -> None:
        _run(seconds)

    @app.task("slow_late", queue="mixed", acks_late=True)
    def slow_late() -> None:
        _run(SLOW_SECONDS)

    return Load(tiny, tiny_among_slow, brief, slow, tiny_late, brief_late, slow_late)


def _run(seconds: float) -> None:
    request = current_request()
    assert request is not None, "it runs in a worker"
    ledger = Ledger(os.environ[LEDGER])
    ledger.write(request.id, STARTED, f"{moment():.6f}")
    if seconds:
        pause(seconds)
    ledger.write(request.id, ENDED)
