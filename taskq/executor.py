"""One message, from its record to its outcome: decode, check the arguments, run, say what follows.

Runs where the tasks run: in a pool process, or in a thread of the worker. What comes out (`Result`) is plain data that can be
marshalled; the worker's parent acts on it (dead letters, follow-ups, log). Publishing, claims and slots are not here.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Awaitable, Coroutine, Sequence
from datetime import timedelta
from random import random
from time import perf_counter
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from taskq import canvas, request
from taskq.clock import Clock, SystemClock
from taskq.errors import (
    DecodeError,
    InvalidArguments,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    UnknownTask,
)
from taskq.interrupts import Interruptible, Interrupts
from taskq.keyhold import held_policy, hold_of, over_hold, within_hold
from taskq.limits import TimeLimits, limits_of
from taskq.logs import LogPlan, TaskLines
from taskq.message import Envelope, Writer, new_task_id, read_body, read_headers
from taskq.middleware import Hooks
from taskq.outcome import (
    Failed,
    Ignore,
    Ignored,
    Outcome,
    Reject,
    Rejected,
    Retried,
    Retry,
    Succeeded,
)
from taskq.printing import escaped
from taskq.protocols import Record
from taskq.publishing import followup_headers
from taskq.request import Request
from taskq.retry import Never, decide, requeue_wait
from taskq.returning import REQUEUED as REQUEUED_HEADER
from taskq.returning import requeues
from taskq.task import Task
from taskq.timers import due_ms, instant_of
from taskq_kafka.steps import queue_of_source, source_of

if TYPE_CHECKING:
    import asyncio

    from taskq.app import App
    from taskq.registry import AnyTask

SUCCEEDED, IGNORED, FAILED, RETRIED, REQUEUED, REVOKED = range(6)
"""How a run ended. Numbers, because an enum cannot be marshalled."""

Message = tuple[str, bytes, "list[tuple[str, bytes]]"]
"""A record to be written: queue, value, headers."""

Detail = tuple[str, str, str, "list[Message]"]
"""A dead letter's reason (empty: none is due), error, traceback, and what is to be sent afterwards.

Of what is REVOKED: no reason, and as the error how its run ended; empty if it had not begun.
"""

Return = tuple[int, str, str]
"""Of what is RETRIED or REQUEUED: when it is due, in milliseconds since 1970 (0: at once), error, traceback."""

Result = tuple[int, float, "str | None", "Detail | Return | None"]
"""How the run ended, its seconds, its log line (None: level too low), and what else there is; None for most."""

TRACEBACK_BYTES = 16 * 1024
"""Of a dead letter's traceback; the end of a longer one is kept, where the error stands."""

ERROR_CHARACTERS = 2000
"""Of an error's text in dead letter and log. Some libraries put a whole response into it."""

_RUN_FAILURES = frozenset({"failed", "retries_exhausted", "time_limit", "worker_died"})
"""Reasons that `@task(dead_letter=False)` turns off; other dead letters were never run, or were asked for."""


def wants_dead_letter(reason: str, found: AnyTask | None) -> bool:
    """Return whether a message goes to the dead letters for a reason; `found` is its task, if there is one."""
    return reason not in _RUN_FAILURES or found is None or found.dead_letter


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
        self._app = app
        self._registry = app.registry
        self._formats = app.formats
        self._group = app.settings.prefix + app.settings.group
        self._key_hold = app.settings.key_hold
        self._lines = TaskLines(plan)
        self._clock: Clock = clock or SystemClock()
        self._loops = _Loops()
        self._alarm = alarm
        self._interrupts = interrupts
        self._has_before = self.hooks.has("before_run")
        self._has_after = self.hooks.has("after_run")
        self._has_publish = self.hooks.has("before_publish")

    def execute(self, record: Record) -> Result:
        """Run a record that was claimed, in the calling thread, and return what became of it. Never raises."""
        prepared = self.prepare(record)
        return self.run(prepared) if isinstance(prepared, Call) else prepared

    def prepare(self, record: Record) -> Call | Result:
        """Decode a record and check its arguments; return the result at once where it cannot be run."""
        started = perf_counter()
        envelope: Envelope | None = None
        try:
            envelope = read_headers(record, self._formats)
            if envelope.expires is not None and envelope.is_expired(self._clock.now()):
                return self._expired(record, envelope)
            found = self._registry.find(envelope.task, record.queue)
            args, kwargs, embed = read_body(envelope, record.value, self._formats)
            found.check_arguments(args, kwargs)
        except DecodeError as error:
            return self._refused(record, envelope, error.reason, error.why, started)
        except InvalidArguments as error:
            return self._refused(record, envelope, "bad_arguments", error.why, started)
        except UnknownTask as error:
            return self._refused(record, envelope, "unknown_task", str(error), started)
        except Exception as error:  # noqa: BLE001 - a door to foreign code
            # A decoder that was given hostile input may raise anything.
            return self._refused(record, envelope, "unreadable", error_text(error), started)
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
        started = perf_counter()
        try:
            if self._has_before:
                self.hooks.call("before_run", call.request)
            value = self._call(call)
            if type(value) is CoroutineType:
                value = self._loops.run(self._interruptible(call, self._within(value, call.limits)))
        except BaseException as error:  # noqa: BLE001 - around the user's function
            # Also SystemExit and KeyboardInterrupt: a task that calls sys.exit() fails, its process lives.
            return self._raised(call, error, perf_counter() - started)
        else:
            return self._returned(call, value, perf_counter() - started)
        finally:
            request.leave(token)

    async def run_async(self, call: Call) -> Result:
        """Run a call of an `async def` task on the running event loop."""
        token = request.enter(call.request)
        started = perf_counter()
        try:
            if self._has_before:
                self.hooks.call("before_run", call.request)
            work = self._within(call.task.run(*call.args, **call.kwargs), call.limits)
            value = await self._interruptible(call, work)
        except BaseException as error:  # noqa: BLE001 - around the user's function
            # As in run(); a CancelledError is the task's own doing, the worker cancels only at the hard limit and what is revoked.
            return self._raised(call, error, perf_counter() - started)
        else:
            return self._returned(call, value, perf_counter() - started)
        finally:
            request.leave(token)

    def end(self, call: Call) -> bool:
        """End a call that was revoked, if it runs at the moment: an exception in its function, of which `REVOKED` comes.

        Returns:
            Whether that was asked for now: not where there are no `interrupts`, and only once.
        """
        return self._interrupts is not None and self._interrupts.end(call)

    def _call(self, call: Call) -> Any:
        """Call the function; a plain one so that it can be ended."""
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

    def _within(
        self, work: Coroutine[Any, Any, Any], limits: TimeLimits | None
    ) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that keeps to limits."""
        if limits is None or self._alarm is None:
            return work
        from taskq.asynclimits import run_within  # asyncio: as in _Loops

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
        import asyncio  # as in _Loops

        task = asyncio.current_task()
        assert task is not None, "coroutines are run as tasks of a loop"
        interrupts.enter_task(call, asyncio.get_running_loop(), task)
        try:
            return await work
        finally:
            interrupts.leave_task(call)

    def close(self) -> None:
        """Close the event loop of the calling thread, if it has one."""
        self._loops.close()

    # Outcomes

    def _returned(self, call: Call, value: Any, runtime: float) -> Result:
        detail: Detail | None = None
        if call.embed:
            try:
                followups = canvas.after_success(call.embed, value, self._parent(call))
                detail = ("", "", "", self._messages(followups))
            except Exception as error:  # noqa: BLE001 - what it returned cannot be sent on
                return self._raised(call, error, runtime)
        if self._has_after:
            self.hooks.call("after_run", call.request, Succeeded(value))
        asked = call.request
        return (
            SUCCEEDED,
            runtime,
            self._lines.succeeded(asked.task, asked.id, asked, runtime),
            detail,
        )

    def _raised(self, call: Call, error: BaseException, runtime: float) -> Result:
        asked = call.request
        if call.is_terminated:
            self._after(call, Ignored("revoked"))
            return revoked(f"ended with {type(error).__name__}", runtime)
        if isinstance(error, Ignore):
            self._after(call, Ignored(error.reason))
            line = self._lines.ignored(asked.task, asked.id, asked, runtime, one_line(error.reason))
            return IGNORED, runtime, line, None
        if isinstance(error, Reject):
            return self._rejected(call, error, runtime)
        if isinstance(error, Retry):
            return self._repeated(call, error.error, error, runtime)
        if call.task.retry_policy.wants(error):
            return self._repeated(call, error, None, runtime)
        is_overrun = isinstance(error, (SoftTimeLimitExceeded, TimeLimitExceeded))
        reason = "time_limit" if is_overrun else "failed"
        return self._failed_for_good(call, reason, error, runtime)

    def _rejected(self, call: Call, reject: Reject, runtime: float) -> Result:
        asked, why = call.request, one_line(reject.reason)
        wait, now = requeue_wait(requeues(asked.headers) + 1), self._clock.now()
        if reject.requeue and call.record.key:
            rest, hold = timedelta(seconds=wait), hold_of(call.task.retry_policy, self._key_hold)
            over = over_hold(asked.headers, wait=rest, key_hold=hold, now=now)
            if over:
                return self._failed_for_good(call, "retries_exhausted", reject, runtime, more=over)
        self._after(call, Rejected(reject.reason, reject.requeue))
        text = f"Reject: {why}" if why else "Reject"
        if not reject.requeue:
            return self._failed(call, "rejected", text, "", runtime)
        due = due_ms(now + timedelta(seconds=wait)) if wait else 0
        line = self._lines.requeued(asked.task, asked.id, asked, runtime, why, wait=wait)
        return REQUEUED, runtime, line, (due, text, "")

    def _repeated(
        self, call: Call, error: BaseException, retry: Retry | None, runtime: float
    ) -> Result:
        """Return the result of a run that failed with `error`, and is to be repeated if it may be."""
        asked, now = call.request, self._clock.now()
        policy = call.task.retry_policy
        hold = hold_of(policy, self._key_hold)
        if call.record.key:
            policy = held_policy(policy, hold)
        try:
            decided = decide(
                policy,
                retry,
                task=asked.task,
                retries=asked.retries,
                now=now,
                expires=asked.expires,
                dice=random(),
            )
        except InvalidArguments as wrong:
            where = retry if retry is not None else error
            wrong = wrong.with_traceback(where.__traceback__)
            return self._failed_for_good(call, "failed", wrong, runtime)
        if call.record.key:
            decided = within_hold(decided, asked.headers, key_hold=hold, now=now)
        if error.__traceback__ is None and retry is not None:
            error = error.with_traceback(retry.__traceback__)  # made to be told, and never raised
        if isinstance(decided, Never):
            return self._failed_for_good(
                call, "retries_exhausted", error, runtime, more=decided.why
            )
        self.hooks.call("on_retry", asked, error)
        text, trace = error_text(error), traceback_text(error)
        due = decided.due_ms
        eta = instant_of(due) if due else None
        self._after(call, Retried(text, eta, decided.retries, trace))
        line = self._lines.retried(
            *(asked.task, asked.id, asked, runtime, text),
            wait=decided.wait,
            count=decided.count,
            trace=trace,
        )
        return RETRIED, runtime, line, (due, text, trace)

    def _failed_for_good(
        self, call: Call, reason: str, error: BaseException, runtime: float, *, more: str = ""
    ) -> Result:
        self.hooks.call("on_failure", call.request, error)
        text, trace = error_text(error), traceback_text(error)
        text = f"{text} ({more})" if more else text
        self._after(call, Failed(reason, text, trace))
        return self._failed(call, reason, text, trace, runtime)

    def _failed(self, call: Call, reason: str, error: str, trace: str, runtime: float) -> Result:
        messages: list[Message] = []
        if call.embed:
            try:
                messages = self._messages(canvas.after_failure(call.embed, self._parent(call)))
            except Exception as cause:  # noqa: BLE001 - an errback that cannot be written must not hide the failure
                trace = f"{trace}\nits errbacks were not sent: {error_text(cause)}"
        source = _source(call.record)
        is_wanted = wants_dead_letter(reason, call.task)
        then = f"dead letter: taskq dlq show {source}" if is_wanted else "no dead letter is wanted"
        asked = call.request
        line = self._lines.failed(asked.task, asked.id, asked, runtime, error, then, trace)
        return FAILED, runtime, line, (reason if is_wanted else "", error, trace, messages)

    def _refused(
        self, record: Record, envelope: Envelope | None, reason: str, error: str, started: float
    ) -> Result:
        name, id = (envelope.task, envelope.id) if envelope is not None else ("?", "?")
        runtime = perf_counter() - started
        error = one_line(error)
        line = self._lines.failed(
            name,
            id,
            record,
            runtime,
            f"{reason}: {error}",
            f"dead letter: taskq dlq show {_source(record)}",
        )
        return FAILED, runtime, line, (reason, error, "", [])

    def _expired(self, record: Record, envelope: Envelope) -> Result:
        """Return the result of a message whose time passed while it was claimed and waited behind another."""
        why = "expired before it could run"
        line = self._lines.ignored(envelope.task, envelope.id, record, 0.0, why)
        return IGNORED, 0.0, line, None

    def _after(self, call: Call, outcome: Outcome) -> None:
        if self._has_after:
            self.hooks.call("after_run", call.request, outcome)

    def _parent(self, call: Call) -> canvas.Parent:
        asked = call.request
        root = asked.headers.get("root_id")
        return canvas.Parent(
            id=asked.id,
            root_id=root if isinstance(root, str) else asked.id,
            now=self._clock.now(),
        )

    def _messages(self, followups: Sequence[canvas.Followup]) -> list[Message]:
        """Write what follows; raises EncodeError where the task's result cannot be written."""
        messages: list[Message] = []
        for each in followups:
            id, queue = each.task_id or new_task_id(), each.queue or self._app.queue_of(each.task)
            headers = each.headers
            if self._has_publish:
                headers = followup_headers(self.hooks, id, queue, each)
            priority = self._app.priority_of(each.task, each.priority)
            value, written = Writer(each.task, self._app.format).write(
                id, each.args, each.kwargs, headers=headers, embed=each.embed, priority=priority
            )
            messages.append((source_of(queue, priority), value, written))
        return messages


class _Loops:
    """An event loop for each thread that runs `async def` tasks; made at the first, and used again."""

    def __init__(self) -> None:
        self._local = threading.local()

    def run(self, work: Awaitable[Any]) -> Any:
        """Run a coroutine to its end; what it left running is cancelled, as `asyncio.run` does."""
        import asyncio  # 4 MB that pool processes with plain functions alone do without

        loop: asyncio.AbstractEventLoop | None = getattr(self._local, "loop", None)
        if loop is None:
            loop = self._local.loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(asyncio.ensure_future(work, loop=loop))
        finally:
            left = asyncio.all_tasks(loop)
            if left:
                for one in left:
                    one.cancel()
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    def close(self) -> None:
        """Close the calling thread's loop."""
        loop: asyncio.AbstractEventLoop | None = getattr(self._local, "loop", None)
        if loop is not None:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            del self._local.loop


def revoked(how: str = "", runtime: float = 0.0) -> Result:
    """Return the result of what was revoked: after a run that ended somehow, or before it had begun."""
    return REVOKED, runtime, None, ("", how, "", [])


def _source(record: Record) -> str:
    return f"{record.queue}/{record.partition}/{record.offset}"


def one_line(text: str) -> str:
    """Return a text on one line, not too long; what a terminal would not print but obey, or UTF-8 cannot write, is escaped."""
    line = " ".join(text.split())[:ERROR_CHARACTERS]
    return line if line.isprintable() else escaped(line)


def error_text(error: BaseException) -> str:
    """Return `TYPE: TEXT` of an error, on one line; also of one that cannot be shown."""
    name = type(error).__name__
    try:
        text = one_line(str(error))
    except Exception as failure:  # noqa: BLE001 - the error's own __str__ raised
        text = f"(its text cannot be shown: {type(failure).__name__})"
    return f"{name}: {text}" if text else name


def traceback_text(error: BaseException) -> str:
    """Return an error's traceback from the user's function on, the last 16 KiB of it."""
    try:
        lines = traceback.format_exception(type(error), error, _users_part(error.__traceback__))
    except Exception:  # noqa: BLE001 - an error in the chain cannot be shown
        return error_text(error)
    data = "".join(lines).encode(errors="backslashreplace")
    return data[-TRACEBACK_BYTES:].decode(errors="ignore")


_OWN_FILES = frozenset({__file__, Task.run.__code__.co_filename})


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """Skip the frames before the user's function; keep all if there are no others."""
    loaded = map(sys.modules.get, ("asyncio.base_events", "taskq.asynclimits"))
    own = _OWN_FILES.union(module.__file__ for module in loaded if module is not None)
    part = trace
    while part is not None and part.tb_frame.f_code.co_filename in own:
        part = part.tb_next
    return part or trace
