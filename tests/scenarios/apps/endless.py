"""Tasks that never end by themselves, beside those of `tests.support.scene_tasks`, in one app."""

from __future__ import annotations

import asyncio

from tests.support.scene_tasks import app, note

__all__ = ["app"]


@app.task("loop", autoretry_for=Exception)
def loop() -> None:
    note("started")
    while True:
        pass


async def _await() -> None:
    note("started")
    await asyncio.Event().wait()


for late in (False, True):
    app.task("await_late" if late else "await", acks_late=late, autoretry_for=Exception)(_await)
