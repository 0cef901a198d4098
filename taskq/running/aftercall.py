"""From the end of a run to its result: retry, requeue or failure for good, what follows, hooks, and the log line.

Runs where the tasks run. Publishing is not here: what is to be sent is part of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import random
from time import perf_counter
from typing import TYPE_CHECKING, Any

from taskq.clock import Clock
from taskq.errors import InvalidArguments, SoftTimeLimitExceeded, TimeLimitExceeded
from taskq.errortext import error_text, one_line, traceback_text
from taskq.logs import LogPlan, TaskLines
from taskq.message import Envelope, Writer, new_task_id
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
from taskq.protocols import Record
from taskq.retry import Never, requeue_wait
from taskq.running.calling import Call
from taskq.running.keyhold import decide_held, hold_of, over_hold
from taskq.running.returning import requeues
from taskq.running.runresult import (
    FAILED,
    IGNORED,
    REQUEUED,
    RETRIED,
    SUCCEEDED,
    Detail,
    Message,
    Result,
    revoked,
    wants_dead_letter,
)
from taskq.sending import canvas
from taskq.sending.publishing import followup_headers
from taskq.timing.timers import due_ms, instant_of
from taskq_kafka.steps import source_of

if TYPE_CHECKING:
    from taskq.app import App


class AfterCall:
    """Any thread may call it, many at a time."""

    def __init__(self, app: App, plan: LogPlan, hooks: Hooks, clock: Clock) -> None:
        """Take an app with all its tasks.

        Args:
            app: Knows where what follows is sent.
            plan: How log lines are made.
            hooks: Told of what became of runs.
            clock: For when what is repeated is due.
        """
        self._app = app
        self._hooks = hooks
        self._key_hold = app.settings.key_hold
        self._lines = TaskLines(plan)
        self._clock = clock
        self._has_after = hooks.has("after_run")
        self._has_publish = hooks.has("before_publish")

    def returned(self, call: Call, value: Any, runtime: float) -> Result:
        """Return the result of a function that returned: what is to follow is written, unless that cannot be."""
        detail: Detail | None = None
        if call.embed:
            try:
                followups = canvas.after_success(call.embed, value, self._parent(call))
                detail = ("", "", "", self._messages(followups))
            except Exception as error:  # noqa: BLE001 - what it returned cannot be sent on
                return self.raised(call, error, runtime)
        if self._has_after:
            self._hooks.call("after_run", call.request, Succeeded(value))
        asked = call.request
        return (
            SUCCEEDED,
            runtime,
            self._lines.succeeded(asked.task, asked.id, asked, runtime),
            detail,
        )

    def raised(self, call: Call, error: BaseException, runtime: float) -> Result:
        """Return the result of a function that raised, whatever it was."""
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
        try:
            decided = decide_held(
                call.task.retry_policy,
                retry,
                has_key=bool(call.record.key),
                headers=asked.headers,
                key_hold=self._key_hold,
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
        if error.__traceback__ is None and retry is not None:
            error = error.with_traceback(retry.__traceback__)  # made to be told, and never raised
        if isinstance(decided, Never):
            return self._failed_for_good(
                call, "retries_exhausted", error, runtime, more=decided.why
            )
        self._hooks.call("on_retry", asked, error)
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
        self._hooks.call("on_failure", call.request, error)
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

    def refused(
        self, record: Record, envelope: Envelope | None, reason: str, error: str, started: float
    ) -> Result:
        """Return the result of a message that cannot be run; `started`: when that was looked at first."""
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

    def expired(self, record: Record, envelope: Envelope) -> Result:
        """Return the result of a message whose time passed while it was claimed and waited behind another."""
        why = "expired before it could run"
        line = self._lines.ignored(envelope.task, envelope.id, record, 0.0, why)
        return IGNORED, 0.0, line, None

    def _after(self, call: Call, outcome: Outcome) -> None:
        if self._has_after:
            self._hooks.call("after_run", call.request, outcome)

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
                headers = followup_headers(self._hooks, id, queue, each)
            priority = self._app.priority_of(each.task, each.priority)
            value, written = Writer(each.task, self._app.format).write(
                id, each.args, each.kwargs, headers=headers, embed=each.embed, priority=priority
            )
            messages.append((source_of(queue, priority), value, written))
        return messages


def _source(record: Record) -> str:
    return f"{record.queue}/{record.partition}/{record.offset}"
