"""A task that waits for its time, as a record of the log `taskq.timers`, and back. Pure; what is due when is in timershard.py.

Format 1. Key `TASKID/UNIQUE`: one sending of a task; UNIQUE has no slash. Value and headers are the task's, followed by these:

    timer-format    `1`; everything from its last occurrence on is the timer's, what stands before is the task's, byte for byte
    timer-due       milliseconds since 1970, rounded up
    timer-queue     the queue, or the step of its priority (QUEUE.pN), without prefix
    timer-key       the task record's key; only where it has one

When its time has come, the owner of the log's partition writes the task to its queue, without these headers and with `taskq-fired`
(milliseconds since 1970, by the owner's clock), and takes the key out, in one transaction. The header `eta` stays on it. Clocks
differ: a worker's may say that the eta has not come yet. So the rule for whoever reads a queue: a record with `taskq-fired` has
waited, and runs whatever its eta says; only one without it is judged by its eta.

Cancelling is a record with key `TASKID/cancel` and the value `{"format": 1, "at": INSTANT}`: the owner takes out all timers of the
task that stand before it, and the cancel record. Nobody but the owner takes anything out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from taskq import jsoncodec
from taskq.attempts import instant_text
from taskq.errors import DecodeError, InvalidQueueName
from taskq.instants import write_instant
from taskq.message import FIRED, is_task_id
from taskq.protocols import HeaderList, Outgoing
from taskq.queues import TIMERS, check_source
from taskq.timing.shards import LogRecord, TimerLetter, Write

LOG = TIMERS
GROUP = "taskq-timers"
"""The group of those who own its partitions, without prefix."""

FORMAT = 1

FORMAT_HEADER = "timer-format"
_DUE_HEADER = "timer-due"
_QUEUE_HEADER = "timer-queue"
_KEY_HEADER = "timer-key"
_CANCEL = b"cancel"
_CANCEL_END = b"/cancel"
_FORMAT_1 = (FORMAT_HEADER, b"1")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST_ERROR = 2000  # characters

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, the latest that a timer can be due: no `eta` can be written beyond."""


class NewerTimer(Exception):
    """A record was written by a newer version of taskq; it must not be touched by this one."""


@dataclass(frozen=True, slots=True)
class Timer:
    """A task that waits."""

    task_id: str
    due_ms: int
    message: Outgoing
    """What is to be written to its queue, without `taskq-fired`."""

    key: bytes
    """Of its record in the log."""

    @property
    def task(self) -> str:
        """The task's name, as far as it can be read; empty where it cannot."""
        return _text(self.message.headers, "task")

    def fired(self, now_ms: int) -> Outgoing:
        """Return what to write to its queue at an instant of the owner's clock."""
        message = self.message
        mark = (FIRED, str(now_ms).encode())
        return Outgoing(message.queue, message.value, [*message.headers, mark], message.key)


def due_ms(instant: datetime) -> int:
    """Return an aware instant in whole milliseconds since 1970, rounded up, so that nothing is early.

    In the last of all milliseconds it is rounded down, as there is nothing above: half a millisecond early in the year 9999.
    """
    return min(-(-((instant - _EPOCH) // _MICROSECOND) // 1000), LATEST_MS)


def instant_of(milliseconds: int) -> datetime:
    """Return milliseconds since 1970 as an aware instant in UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def new_unique() -> str:
    """Return what tells one sending of a task from others of the same id."""
    return os.urandom(4).hex()


def timer_write(
    message: Outgoing, *, task_id: str, due_ms: int, unique: str | None = None
) -> Write:
    """Return the record that makes a task wait.

    Args:
        message: The task's record, as it will be written to its queue; its `taskq-fired` is left out.
        task_id: Its id.
        due_ms: When it is due, in milliseconds since 1970.
        unique: None: a new one. For a record that is moved: `QUEUE-PARTITION-OFFSET`, so that moving it twice is moving it once.
    """
    headers = [header for header in message.headers if header[0] != FIRED]
    headers += [
        (FORMAT_HEADER, str(FORMAT).encode()),
        (_DUE_HEADER, str(due_ms).encode()),
        (_QUEUE_HEADER, message.queue.encode()),
    ]
    if message.key is not None:
        headers.append((_KEY_HEADER, message.key))
    route = task_id.encode()
    key = b"%s/%s" % (route, (unique or new_unique()).encode())
    return Write(LOG, route, key, message.value, headers, message.queue)


def message_of(write: Write) -> Outgoing | None:
    """Return the task's record of what `timer_write` made; None of anything else that is written to a log."""
    if write.log != LOG or write.value is None or is_cancel(write.key):
        return None
    headers, own = _parted(write.headers)
    whole = [(name, value) for name, value in headers if value is not None]
    return Outgoing(write.queue or "", write.value, whole, own.get(_KEY_HEADER))


def cancel_write(task_id: str, now: datetime) -> Write:
    """Return the record that cancels all timers of a task."""
    route = task_id.encode()
    value = jsoncodec.dumps({"format": FORMAT, "at": write_instant(now)})
    return Write(LOG, route, b"%s/%s" % (route, _CANCEL), value)


def split_key(key: bytes) -> tuple[bytes, bytes]:
    """Return the task's id and what tells its timers apart; an id may have slashes. No id: the key is none of ours."""
    id, _, unique = key.rpartition(b"/")
    return id, unique


def is_cancel(key: bytes) -> bool:
    """Return whether a record with this key cancels."""
    return key.endswith(_CANCEL_END)


def check_cancel(value: bytes) -> None:
    """Look whether a cancel record is ours to follow. Its key says all; of its value only the format counts.

    Raises:
        NewerTimer: It has a newer format.
    """
    try:
        fields = jsoncodec.loads(value)
    except ValueError:
        return
    found = fields.get("format") if isinstance(fields, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise NewerTimer


def read_due(headers: HeaderList) -> int:
    """Return when a timer is due, in milliseconds since 1970, and look at nothing else: a shard does it for every record.

    Raises:
        NewerTimer: It has a newer format.
        DecodeError: There is no such thing in the headers.
    """
    due = _quick_due(headers)
    if due is None:
        due = _parted(headers)[1].get(_DUE_HEADER) or b""
    if not due.isdigit() or len(due) > 15 or int(due) > LATEST_MS:
        raise DecodeError(
            "unreadable", f"the header {_DUE_HEADER!r} is no instant up to the year 9999"
        )
    return int(due)


def read_timer(record: LogRecord) -> Timer:
    """Return the timer of a record that is neither a cancel record nor a tombstone.

    Raises:
        NewerTimer: It has a newer format.
        DecodeError: It is no timer.
    """
    due = read_due(record.headers)
    headers, own = _parted(record.headers)
    id, unique = split_key(record.key)
    try:
        task_id = id.decode()
        queue = check_source((own.get(_QUEUE_HEADER) or b"").decode())
    except UnicodeDecodeError:
        raise DecodeError("unreadable", "its key or queue is not UTF-8") from None
    except InvalidQueueName as error:
        raise DecodeError("unreadable", f"the header {_QUEUE_HEADER!r}: {error}") from None
    if not unique or not is_task_id(task_id):
        raise DecodeError("unreadable", "its key is not TASKID/UNIQUE")
    if record.value is None:
        raise DecodeError("unreadable", "it has no value")
    whole = [(name, value) for name, value in headers if value is not None]
    message = Outgoing(queue, record.value, whole, own.get(_KEY_HEADER))
    return Timer(task_id, due, message, record.key)


def letter(record: LogRecord, *, reason: str, error: str, now_ms: int) -> TimerLetter:
    """Return the dead letter of a timer: value and headers as they were, and `dlq-*` headers that say why.

    Args:
        record: As it stands in the log.
        reason: One of the codes for `dlq-reason`.
        error: One line.
        now_ms: When it failed, in milliseconds since 1970.
    """
    failed = instant_of(now_ms)
    texts = {
        "dlq-id": id_text(record.key),
        "dlq-task": _text(record.headers, "task"),
        "dlq-reason": reason,
        "dlq-error": error[:_LONGEST_ERROR],
        "dlq-failed": instant_text(failed),
    }
    headers = [(name, value) for name, value in record.headers if value is not None]
    headers += [
        (name, text.encode(errors="backslashreplace")) for name, text in texts.items() if text
    ]
    headers.append(("dlq-source-key", record.key))
    source = f"{LOG}/{record.partition}/{record.offset}"
    return TimerLetter(source.encode(), record.value or b"", headers)


def id_text(key: bytes) -> str:
    """Return the task's id of a key for people; what is not UTF-8 is escaped."""
    return split_key(key)[0].decode(errors="backslashreplace")


def _quick_due(headers: HeaderList) -> bytes | None:
    """Return the due time of a record whose own headers stand as `timer_write` puts them; None for others."""
    count = len(headers)
    place = count - 4 if count > 3 and headers[-1][0] == _KEY_HEADER else count - 3
    if place < 0 or headers[place] != _FORMAT_1 or headers[place + 2][0] != _QUEUE_HEADER:
        return None
    name, value = headers[place + 1]
    return value if name == _DUE_HEADER else None


def _parted(headers: HeaderList) -> tuple[HeaderList, dict[str, bytes | None]]:
    """Return the task's headers and the timer's own, which stand behind them."""
    for place in range(len(headers) - 1, -1, -1):
        if headers[place][0] == FORMAT_HEADER:
            break
    else:
        raise DecodeError("unreadable", f"there is no header {FORMAT_HEADER!r}")
    found = headers[place][1] or b""
    if found != b"1":
        if not found.isdigit() or len(found) > 15 or int(found) <= FORMAT:
            raise DecodeError("unreadable", f"the header {FORMAT_HEADER!r} is no version")
        raise NewerTimer
    return headers[:place], dict(headers[place + 1 :])


def _text(headers: HeaderList, name: str) -> str:
    value = next((value for each, value in headers if each == name), None)
    return (value or b"").decode(errors="backslashreplace")
