"""Time limits of a coroutine: what runs on an event loop is interrupted where it awaits.

At the soft limit `SoftTimeLimitExceeded` is raised at the `await` that the coroutine stands at; at the hard one it is cancelled. A
coroutine that does not await is not interrupted. Imports asyncio: only where there is a loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any

from taskq import errors
from taskq.running.limits import TimeLimits


class SoftTimeLimitExceeded(errors.SoftTimeLimitExceeded, asyncio.CancelledError):
    """What a coroutine sees: a cancellation, too, so that task groups and `wait_for` on the way clean up as they do for one."""


async def run_within(work: Coroutine[Any, Any, Any], limits: TimeLimits) -> Any:
    """Await a coroutine within limits.

    Raises:
        SoftTimeLimitExceeded: The coroutine let it out.
        TimeLimitExceeded: It was cancelled at the hard limit.
    """
    alarms = _Alarms()
    loop = asyncio.get_running_loop()
    handles = []
    if limits.soft is not None:
        handles.append(
            loop.call_later(limits.soft, alarms.ring, SoftTimeLimitExceeded(limits.soft))
        )
    if limits.hard is not None:
        handles.append(loop.call_later(limits.hard, alarms.ring, None))
    try:
        return await _driven(work, alarms)
    except errors.SoftTimeLimitExceeded as error:
        # As it is everywhere else: outside of the coroutine nobody is to take it for a cancellation.
        plain = errors.SoftTimeLimitExceeded(error.seconds)
        raise plain.with_traceback(error.__traceback__) from error.__cause__
    except asyncio.CancelledError as error:
        if not alarms.is_cancelled or limits.hard is None:
            raise
        raise errors.TimeLimitExceeded(limits.hard).with_traceback(error.__traceback__) from None
    finally:
        for handle in handles:
            handle.cancel()


class _Alarms:
    """What is to be raised in the coroutine of one asyncio task, by whose first step it is made."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._due: BaseException | None = None
        self.is_cancelled = False

    def ring(self, error: BaseException | None) -> None:
        """Have an error raised in the coroutine; None: cancel it."""
        self._due = error
        self.is_cancelled = error is None
        if self._task is not None:
            self._task.cancel()

    def take(self, cancellation: asyncio.CancelledError) -> BaseException:
        """Return what is to be raised in place of a cancellation that arrived: itself, if it is not ours."""
        due, self._due = self._due, None
        if due is None:
            return cancellation
        # From Python 3.11 on a task counts the wishes to cancel it; this one is none.
        getattr(self._task, "uncancel", int)()
        return due


@coroutine
def _driven(work: Coroutine[Any, Any, Any], alarms: _Alarms) -> Generator[Any, Any, Any]:
    """Run a coroutine step by step, and raise in it what is due in place of a cancellation."""
    step = partial(work.send, None)
    while True:
        try:
            awaited = step()
        except StopIteration as end:
            return end.value
        try:
            value = yield awaited
        except asyncio.CancelledError as error:
            step = partial(work.throw, alarms.take(error))
        except BaseException as error:  # noqa: BLE001 - handed on to where it belongs
            step = partial(work.throw, error)
        else:
            step = partial(work.send, value)
