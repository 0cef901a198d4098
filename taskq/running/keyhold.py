"""How long a task with a key may hold up the others of its key, because it is run again in its place. Pure.

A task with a key waits for its next run in the worker, which holds its record and its key meanwhile, so that the others of the key
come after it. All that takes at most `key_hold` seconds from the end of its first run; when it began stands in a header that no
record in Kafka has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from taskq.outcome import Retry
from taskq.retry import MAX_RETRIES, Again, Never, RetryPolicy, decide
from taskq.timing.timers import due_ms

KEY_HOLD = 60.0
"""Seconds: the default."""

HEADER = "taskq-held"
"""Of a record that runs again in its place: the end of its first run, in milliseconds since 1970."""


def held_since_ms(headers: Mapping[str, Any], now: datetime) -> int:
    """Return since when a task holds its key, in milliseconds since 1970; now, if this was its first run."""
    text = headers.get(HEADER)
    is_instant = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 16
    return int(text) if is_instant and text else due_ms(now)


def hold_of(policy: RetryPolicy, default: float) -> float:
    """Return the seconds that a task may hold its key, by its own option or the setting."""
    return default if policy.key_hold is None else policy.key_hold


def held_policy(policy: RetryPolicy, key_hold: float) -> RetryPolicy:
    """Return a task's policy for messages with a key: a wait that does not fit the hold at all is shared out over it.

    The default, `default_retry_delay` without a backoff, is made for tasks that hold up nobody; with it there would be no retry.

    Args:
        policy: The task's.
        key_hold: Seconds that it may hold its key.
    """
    if policy.delay <= key_hold:
        return policy
    retries = MAX_RETRIES if policy.max_retries is None else policy.max_retries
    return replace(policy, delay=key_hold / (retries + 1))


def decide_held(
    policy: RetryPolicy,
    asked: Retry | None,
    *,
    has_key: bool,
    headers: Mapping[str, Any],
    key_hold: float,
    task: str,
    retries: int,
    now: datetime,
    expires: datetime | None,
    dice: float,
) -> Again | Never:
    """Return when a task that failed runs again: as `retry.decide` says, and with a key within the time it may hold it.

    Args:
        policy: The task's.
        asked: What the task raised, if it asked for a retry itself.
        has_key: Whether its message has a key.
        headers: Of that message.
        key_hold: Seconds that it may hold its key, unless its policy says so itself.
        task: Its name.
        retries: Retries so far.
        now: The clock of who ran it.
        expires: When it is not to run any more.
        dice: See `RetryPolicy.wait`.

    Raises:
        InvalidArguments: The task asked for what cannot be.
    """
    hold = hold_of(policy, key_hold)
    decided = decide(
        held_policy(policy, hold) if has_key else policy,
        asked,
        task=task,
        retries=retries,
        now=now,
        expires=expires,
        dice=dice,
    )
    return within_hold(decided, headers, key_hold=hold, now=now) if has_key else decided


def within_hold(
    decided: Again | Never, headers: Mapping[str, Any], *, key_hold: float, now: datetime
) -> Again | Never:
    """Return a decision to run a task with a key again, unless that would be too late for the others of its key.

    Args:
        decided: What its retry policy says.
        headers: Of the message that ran.
        key_hold: Seconds that it may hold its key.
        now: The clock of who ran it.
    """
    if isinstance(decided, Never):
        return decided
    wait = timedelta(seconds=decided.wait)
    why = over_hold(headers, wait=wait, key_hold=key_hold, now=now)
    return Never(why) if why else decided


def over_hold(
    headers: Mapping[str, Any], *, wait: timedelta, key_hold: float, now: datetime
) -> str:
    """Return why a task with a key is not run again after `wait`, for people; empty if it is."""
    until_ms = held_since_ms(headers, now) + key_hold * 1000
    if due_ms(now + wait) <= until_ms:
        return ""
    return f"its next run would come after key_hold, the {key_hold:g} s for which it may hold up the others of its key"
