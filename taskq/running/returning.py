"""The record with which a task comes back to its queue: as a retry, or because it put itself back. Pure.

Value, key and headers stay as they are, but for these: `retries` and `eta` of a retry are new, `taskq-attempts` tells what went
wrong so far (attempts.py), `taskq-requeued` how often the task put itself back. What is to wait is a timer, whose name in the log
is made of the place of the record that it comes from: written twice it is one timer, as long as it waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskq import attempts
from taskq.attempts import Attempt, read_attempts, write_attempts
from taskq.message import FIRED, Envelope, protocol_form
from taskq.protocols import Outgoing, Record
from taskq.timing.shards import Write
from taskq.timing.timers import instant_of, timer_write

REQUEUED = "taskq-requeued"
"""The header of a record that its task put back to the queue: how often."""

_JSON_NAMES = "kombu-json"


def retried(
    record: Record,
    envelope: Envelope,
    *,
    due_ms: int,
    attempt: Attempt,
    deaths: Sequence[Attempt] = (),
) -> Outgoing | Write:
    """Return what is to be written for a task that is to be tried again.

    Args:
        record: As it stood in its queue.
        envelope: What its headers say.
        due_ms: When it is due, in milliseconds since 1970; 0: at once.
        attempt: The one that failed now.
        deaths: Those of this record before, with which processes died.

    Raises:
        DecodeError: It has no value that can be read, so it cannot have run.
    """
    before = read_attempts(envelope.headers.get(attempts.HEADER))
    known = before.with_all((*deaths, attempt))
    headers: dict[str, bytes | None] = {
        "retries": str(envelope.retries + 1).encode(),
        "eta": instant_of(due_ms).isoformat().encode() if due_ms else None,
        attempts.HEADER: write_attempts(known),
        FIRED: None,
    }
    return returning(record, envelope, headers, due_ms)


def requeued(record: Record, envelope: Envelope, *, due_ms: int) -> Outgoing | Write:
    """Return what is to be written for a task that put itself back; see `retried`."""
    count = str(requeues(envelope.headers) + 1).encode()
    return returning(record, envelope, {REQUEUED: count}, due_ms)


def requeues(headers: Mapping[str, Any]) -> int:
    """Return how often a task has put itself back to its queue before."""
    text = headers.get(REQUEUED)
    is_count = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 10
    return int(text) if is_count and text else 0


def is_return(headers: Mapping[str, Any]) -> bool:
    """Return whether a record with these headers was sent by a worker because its task is to run again."""
    return attempts.HEADER in headers or REQUEUED in headers


def returning(
    record: Record, envelope: Envelope, changes: Mapping[str, bytes | None], due_ms: int
) -> Outgoing | Write:
    """Return what is to be written for a record that is to come back to its queue.

    Args:
        record: As it stood in its queue.
        envelope: What its headers say.
        changes: Headers that it gets in the place of those of the same names; None takes one out.
        due_ms: When it is due, in milliseconds since 1970; 0: at once.
    """
    value, headers = protocol_form(record, envelope)
    message = Outgoing(record.queue, value, _changed(headers, changes), record.key)
    if not due_ms:
        return message
    source = f"{record.queue}-{record.partition}-{record.offset}"
    return timer_write(message, task_id=envelope.id, due_ms=due_ms, unique=source)


def _changed(
    headers: list[tuple[str, bytes]], changes: Mapping[str, bytes | None]
) -> list[tuple[str, bytes]]:
    """Return headers with others in the place of those of the same names; None takes a name out."""
    kept = [each for each in headers if each[0] not in changes and each[0] != _JSON_NAMES]
    kept += [(name, value) for name, value in changes.items() if value is not None]
    listed = dict(headers).get(_JSON_NAMES)
    if listed is not None:
        # Of the headers that are changed only the count of retries is JSON; without a list the protocol says so.
        names = [name for name in listed.decode().split(",") if name and name not in changes]
        names += ["retries"] if "retries" in changes else []
        kept.append((_JSON_NAMES, ",".join(names).encode()))
    return kept
