"""One message, from its record to its outcome: decode, check the arguments, run, say what follows.

Runs where the tasks run: in a pool process, or in a thread of the worker. The worker's parent acts on what comes out (dead letters,
follow-ups, log). How a function is called is in calling.py, what its end means in aftercall.py. Publishing, claims and slots are
not here.
"""

from __future__ import annotations

import os
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING

from taskq import request
from taskq.clock import Clock, SystemClock
from taskq.errors import DecodeError, InvalidArguments, UnknownTask
from taskq.errortext import error_text
from taskq.logs import LogPlan
from taskq.message import Envelope, read_body, read_headers
from taskq.middleware import Hooks
from taskq.protocols import Record
from taskq.request import Request
from taskq.running.aftercall import AfterCall
from taskq.running.calling import Alarm, Call, Caller
from taskq.running.forkedends import end_if_forked
from taskq.running.interrupts import Interrupts
from taskq.running.returning import REQUEUED as REQUEUED_HEADER
from taskq.running.runresult import Result
from taskq.running.threadloops import ThreadLoops
from taskq_kafka.steps import queue_of_source

if TYPE_CHECKING:
    from taskq.app import App


class Executor:
    """Runs messages. Any thread may call it, many at a time."""

    def __init__(
        self,
        app: App,
        plan: LogPlan,
        clock: Clock | None = None,
        *,
        alarm: Alarm | None = None,
        interrupts: Interrupts | None = None,
    ) -> None:
        """Take an app with all its tasks.

        Args:
            app: Where the tasks are registered.
            plan: How log lines are made.
            clock: Says what has expired.
            alarm: Interrupts runs at their time limits; None: nothing does.
            interrupts: Ends runs on demand; None: nothing does.
        """
        self.hooks = Hooks(app.middleware)
        self._registry = app.registry
        self._formats = app.formats
        self._group = app.settings.prefix + app.settings.group
        self._clock: Clock = clock or SystemClock()
        self._loops = ThreadLoops()
        self._caller = Caller(alarm, interrupts)
        self._after = AfterCall(app, plan, self.hooks, self._clock)
        self._has_before = self.hooks.has("before_run")

    def execute(self, record: Record) -> Result:
        """Run a record that was claimed, in the calling thread, and return what became of it. Never raises."""
        prepared = self.prepare(record)
        return self.run(prepared) if isinstance(prepared, Call) else prepared

    def is_async(self, task: str) -> bool:
        """Return whether a task is an `async def`, which `run_async` is for."""
        found = self._registry.get(task)
        return found is not None and found.is_async

    def prepare(self, record: Record, envelope: Envelope | None = None) -> Call | Result:
        """Decode a record and check its arguments; return the result at once where it cannot be run.

        Args:
            record: One that was claimed.
            envelope: What its headers say, where somebody has read them; None: they are read.
        """
        started = perf_counter()
        try:
            if envelope is None:
                envelope = read_headers(record, self._formats)
            if envelope.expires is not None and envelope.is_expired(self._clock.now()):
                return self._after.expired(record, envelope)
            found = self._registry.find(envelope.task, record.queue)
            args, kwargs, embed = read_body(envelope, record.value, self._formats)
            found.check_arguments(args, kwargs)
        except DecodeError as error:
            return self._after.refused(record, envelope, error.reason, error.why, started)
        except InvalidArguments as error:
            return self._after.refused(record, envelope, "bad_arguments", error.why, started)
        except UnknownTask as error:
            return self._after.refused(record, envelope, "unknown_task", str(error), started)
        except Exception as error:  # noqa: BLE001 - a door to foreign code
            # A decoder that was given hostile input may raise anything.
            return self._after.refused(record, envelope, "unreadable", error_text(error), started)
        asked = Request(
            envelope,
            task=found.name,
            queue=queue_of_source(record.queue),
            partition=record.partition,
            offset=record.offset,
            group=self._group,
            redelivered=record.redelivered or REQUEUED_HEADER in envelope.headers,
            deliveries=record.deliveries + 1,
        )
        return Call(record, asked, found, args, kwargs, embed)

    def run(self, call: Call) -> Result:
        """Run a call in the calling thread; an `async def` task on an event loop that belongs to the thread."""
        token = request.enter(call.request)
        pid = os.getpid()
        started = perf_counter()
        try:
            if self._has_before:
                self.hooks.call("before_run", call.request)
            value = self._caller.call(call)
            if type(value) is CoroutineType:
                value = self._loops.run(self._caller.waiting(call, value))
        except BaseException as error:  # noqa: BLE001 - around the user's function
            # Also SystemExit and KeyboardInterrupt: a task that calls sys.exit() fails, its process lives.
            end_if_forked(pid, error)
            return self._after.raised(call, error, perf_counter() - started)
        else:
            end_if_forked(pid)
            return self._after.returned(call, value, perf_counter() - started)
        finally:
            request.leave(token)

    async def run_async(self, call: Call) -> Result:
        """Run a call of an `async def` task on the running event loop."""
        token = request.enter(call.request)
        pid = os.getpid()
        started = perf_counter()
        try:
            if self._has_before:
                self.hooks.call("before_run", call.request)
            work = call.task.run(*call.args, **call.kwargs)
            value = await self._caller.waiting(call, work)
        except BaseException as error:  # noqa: BLE001 - around the user's function
            # As in run(); a CancelledError is the task's own doing, the worker cancels only at the hard limit and what is revoked.
            end_if_forked(pid, error)
            return self._after.raised(call, error, perf_counter() - started)
        else:
            end_if_forked(pid)
            return self._after.returned(call, value, perf_counter() - started)
        finally:
            request.leave(token)

    def end(self, call: Call) -> bool:
        """End a call that was revoked, if it runs at the moment: an exception in its function, of which `REVOKED` comes.

        Returns:
            Whether that was asked for now: not where there are no `interrupts`, and only once.
        """
        return self._caller.end(call)

    def close(self) -> None:
        """Close the event loop of the calling thread, if it has one."""
        self._loops.close()
