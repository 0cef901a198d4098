"""Tasks with limits that meet them, beside those of `tests.support.scene_tasks`, in one app."""

from __future__ import annotations

from taskq import Context, TimeLimitExceeded
from tests.support.scene_tasks import app, note

__all__ = ["app"]


@app.task("loop_softly", soft_time_limit=0.2)
def loop_softly() -> None:
    note("started")
    while True:
        pass


@app.task("loop_hard", time_limit=600)
def loop_hard() -> None:
    note("started")


@app.task("seldom", rate_limit="1/h")
def seldom() -> None:
    note("started")
    note("ended")


def _loop_once(self: Context) -> None:
    note("started")
    while not self.request.retries:
        pass
    note("ended")


for late in (False, True):
    app.task(
        "loop_once_late" if late else "loop_once",
        bind=True,
        acks_late=late,
        max_deliveries=1 if late else None,
        time_limit=2.0,  # the second run must end within it on a busy machine
        autoretry_for=TimeLimitExceeded,
        default_retry_delay=0,
    )(_loop_once)
