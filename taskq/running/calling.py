"""Calls a message's function: within its time limits, and so that it can be ended. What comes of it is in aftercall.py."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from taskq.protocols import Record
from taskq.request import Request
from taskq.running.interrupts import Interruptible, Interrupts
from taskq.running.limits import TimeLimits, limits_of

if TYPE_CHECKING:
    from taskq.registry import AnyTask


class Alarm(Protocol):
    """Raises `SoftTimeLimitExceeded` in the function that the calling thread runs. Pools have one each: worker/pools/alarms.py."""

    @property
    def cancels(self) -> bool:
        """Whether a coroutine is cancelled at its hard limit: where no process can be ended for it."""

    def set(self, seconds: float) -> None:
        """Raise in the calling thread after so many seconds, unless `clear` is called before."""

    def clear(self) -> None:
        """Raise no more."""


class Call(Interruptible):
    """A message that is ready to run."""

    __slots__ = ("args", "embed", "kwargs", "limits", "record", "request", "task")

    def __init__(
        self,
        record: Record,
        request: Request,
        task: AnyTask,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        embed: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        self.record = record
        self.request = request
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.embed = embed
        self.limits = limits_of(task.limits, request.headers.get("timelimit"))


class Caller:
    """Any thread may call it, many at a time."""

    def __init__(self, alarm: Alarm | None, interrupts: Interrupts | None) -> None:
        """Prepare.

        Args:
            alarm: Interrupts functions at their time limits; None: nothing does.
            interrupts: Ends functions on demand; None: nothing does.
        """
        self._alarm = alarm
        self._interrupts = interrupts

    def end(self, call: Call) -> bool:
        """End a call that was revoked, if it runs at the moment: an exception in its function, of which `REVOKED` comes.

        Returns:
            Whether that was asked for now: not where there are no `interrupts`, and only once.
        """
        return self._interrupts is not None and self._interrupts.end(call)

    def call(self, call: Call) -> Any:
        """Call the function in the calling thread, a plain one so that it can be ended; return its value or coroutine."""
        interrupts = self._interrupts
        if interrupts is None or call.task.is_async:
            return self._call_in_time(call)
        interrupts.enter(call)
        try:
            return self._call_in_time(call)
        finally:
            interrupts.leave(call)

    def _call_in_time(self, call: Call) -> Any:
        """Call the function; a plain one within its soft limit."""
        limits, alarm = call.limits, self._alarm
        if limits is None or limits.soft is None or alarm is None or call.task.is_async:
            return call.task.run(*call.args, **call.kwargs)
        alarm.set(limits.soft)
        try:
            return call.task.run(*call.args, **call.kwargs)
        finally:
            alarm.clear()

    def waiting(self, call: Call, work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that awaits that of a call within its limits, and can be ended."""
        return self._interruptible(call, self._within(work, call.limits))

    def _within(
        self, work: Coroutine[Any, Any, Any], limits: TimeLimits | None
    ) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that keeps to limits."""
        if limits is None or self._alarm is None:
            return work
        from taskq.running.asynclimits import run_within  # asyncio: as in ThreadLoops

        hard = limits.hard if self._alarm.cancels else None
        return run_within(work, TimeLimits(hard, limits.soft))

    def _interruptible(
        self, call: Call, work: Coroutine[Any, Any, Any]
    ) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that can be ended."""
        return work if self._interrupts is None else self._await(self._interrupts, call, work)

    async def _await(
        self, interrupts: Interrupts, call: Call, work: Coroutine[Any, Any, Any]
    ) -> Any:
        import asyncio  # as in ThreadLoops

        task = asyncio.current_task()
        assert task is not None, "coroutines are run as tasks of a loop"
        interrupts.enter_task(call, asyncio.get_running_loop(), task)
        try:
            return await work
        finally:
            interrupts.leave_task(call)
