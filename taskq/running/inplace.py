"""The record with which a task with a key runs again in its place: never written, it goes from the worker to its pool. Pure.

It is what would be written for a retry (returning.py), at the place of the record that failed. So whoever runs it sees a retry, and
its dead letter tells of all attempts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from taskq.attempts import Attempt
from taskq.message import Envelope
from taskq.protocols import HeaderList, Outgoing, Record
from taskq.running.keyhold import HEADER, held_since_ms
from taskq.running.returning import requeued, retried, returning
from taskq.timing.shards import Write


@dataclass(frozen=True, slots=True)
class InPlaceRecord:
    """A `taskq.protocols.Record`: one that was fetched, with other headers."""

    queue: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: HeaderList
    delivery_tag: int
    redelivered: bool
    deliveries: int
    deaths: int
    is_suspect: bool
    lived: bool
    offset_expired: bool = False


def retried_in_place(
    record: Record, envelope: Envelope, *, attempt: Attempt, now: datetime
) -> InPlaceRecord:
    """Return what is run for a retry of a record.

    Args:
        record: As it was run.
        envelope: What its headers say.
        attempt: The one that failed now.
        now: When it did.

    Raises:
        DecodeError: It has no value that can be read, so it cannot have run.
    """
    return _in_place(record, envelope, retried(record, envelope, due_ms=0, attempt=attempt), now)


def requeued_in_place(record: Record, envelope: Envelope, *, now: datetime) -> InPlaceRecord:
    """Return what is run for a record that its task put back; see `retried_in_place`."""
    return _in_place(record, envelope, requeued(record, envelope, due_ms=0), now)


def handed_on(record: Record, envelope: Envelope, *, due_ms: int) -> Outgoing | Write:
    """Return what is to be written for a record that waits to be run again in its place, and must wait among the timers instead.

    Args:
        record: Made by one of the two above.
        envelope: What its headers say.
        due_ms: When it is due, in milliseconds since 1970; 0: at once.
    """
    return returning(record, envelope, {HEADER: None}, due_ms)


def without_hold(record: Record) -> Record:
    """Return a record as it may be written."""
    if not isinstance(record, InPlaceRecord):
        return record
    kept = [each for each in record.headers if each[0] != HEADER]
    return replace(record, headers=kept)


def _in_place(
    record: Record, envelope: Envelope, message: Outgoing | Write, now: datetime
) -> InPlaceRecord:
    since = str(held_since_ms(envelope.headers, now)).encode()
    kept = [each for each in message.headers if each[0] != HEADER]
    return InPlaceRecord(
        record.queue,
        record.partition,
        record.offset,
        record.timestamp_ms,
        record.key,
        message.value,
        [*kept, (HEADER, since)],
        record.delivery_tag,
        record.redelivered,
        record.deliveries,
        record.deaths,
        record.is_suspect,
        record.lived,
    )
