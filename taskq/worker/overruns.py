"""Whether a run whose process was ended at its `time_limit` is repeated. Pure.

Runs that end by themselves ask their task's retry policy where they run (executor.py). Of this one nobody is left there to ask.
"""

from __future__ import annotations

from datetime import datetime

from taskq.errors import InvalidArguments, TimeLimitExceeded
from taskq.errortext import error_text
from taskq.logs import TaskLines
from taskq.registry import AnyTask
from taskq.retry import Never
from taskq.running.keyhold import KEY_HOLD, decide_held
from taskq.running.runresult import FAILED, RETRIED, Result
from taskq.worker.delivery import Delivery


def is_overrun(result: Result) -> bool:
    """Return whether a result is of a run whose process was ended at its hard limit.

    A run that raised has a traceback, and its policy was asked already.
    """
    kind, _, _, detail = result
    return kind == FAILED and detail is not None and detail[0] == "time_limit" and not detail[2]


def after_overrun(
    found: AnyTask,
    delivery: Delivery,
    result: Result,
    *,
    lines: TaskLines,
    now: datetime,
    dice: float,
    key_hold: float = KEY_HOLD,
) -> Result:
    """Return the result as the task's retry policy has it: it is retried, has no retry left, or stays as it is.

    Args:
        found: The task.
        delivery: What ran.
        result: For which `is_overrun` is true.
        lines: Make the log line of a retry.
        now: The present instant, aware.
        dice: See `RetryPolicy.wait`.
        key_hold: Seconds that a task with a key may hold up the others of its key, unless it says so itself.
    """
    _, runtime, _, detail = result
    assert detail is not None
    policy, error = found.retry_policy, str(detail[1])
    if not policy.wants(TimeLimitExceeded(delivery.time_limit or 0.0)):
        return result
    envelope = delivery.envelope
    try:
        decided = decide_held(
            policy,
            None,
            has_key=delivery.key is not None,
            headers=envelope.headers,
            key_hold=key_hold,
            task=delivery.task,
            retries=envelope.retries,
            now=now,
            expires=envelope.expires,
            dice=dice,
        )
    except InvalidArguments as wrong:
        return FAILED, runtime, None, ("failed", error_text(wrong), "", [])
    if isinstance(decided, Never):
        why = f"{error} ({decided.why})" if decided.why else error
        return FAILED, runtime, None, ("retries_exhausted", why, "", [])
    line = lines.retried(
        *(delivery.task, envelope.id, delivery.record, runtime, error),
        wait=decided.wait,
        count=decided.count,
    )
    return RETRIED, runtime, line, (decided.due_ms, error, "")
