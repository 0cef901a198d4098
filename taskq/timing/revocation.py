"""Revoked tasks, as records of the log `taskq.revoked`, and back. Pure.

Key and route are the task's id, the value is `{"format": 1, "at": INSTANT, "terminate": false}`. A record counts for a day;
so long the log keeps it. Workers read all of it before they take anything, and follow it then. `terminate` asks to end a run, too;
who does not know it has the task not begun, which is the other half of what it asks: both are the same format.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import Any

from taskq import jsoncodec
from taskq.errors import UsageError
from taskq.instants import write_instant
from taskq.message import LONGEST_ID, is_task_id
from taskq.timing.shards import LogRecord, Write

LOG = "taskq.revoked"

FORMAT = 1

KEPT_MS = 86_400_000
"""Milliseconds for which a revocation counts: a day."""

MOST = 250_000
"""Ids that a worker remembers, the latest: some 50 MB."""


def check_id(id: str) -> str:
    """Return what may be a task's id.

    Raises:
        UsageError: It may not.
    """
    if not is_task_id(id):
        raise UsageError(
            f"{id!r:.100} is no task's id: printable text of at most {LONGEST_ID} characters"
        )
    return id


def revoked_write(id: str, now: datetime, *, terminate: bool = False) -> Write:
    """Return the record that revokes a task.

    Args:
        id: The task's.
        now: The present instant, aware.
        terminate: Whether it is to be ended, too, if it runs.
    """
    value = {"format": FORMAT, "at": write_instant(now), "terminate": terminate}
    return Write(LOG, id.encode(), id.encode(), jsoncodec.dumps(value))


class Revocations:
    """The ids that are revoked now. One thread changes it; any thread may ask."""

    def __init__(self, *, most: int = MOST) -> None:
        """Begin with none; of more than `most` ids the oldest are forgotten."""
        self._most = most
        self._at: OrderedDict[str, int] = OrderedDict()
        self._terminated: set[str] = set()  # of those above
        self.version = 0
        """Changes when an id has come."""
        self.forgotten = 0
        """How many ids were forgotten before their day was over."""

    def __contains__(self, id: object) -> bool:
        return id in self._at

    def __len__(self) -> int:
        return len(self._at)

    def terminates(self, id: str) -> bool:
        """Return whether a task is to be ended, too, if it runs."""
        return id in self._terminated

    def apply(self, record: LogRecord, now_ms: int) -> bool:
        """Take a record of the log; return whether it revokes a task that was not revoked before.

        What cannot be read says nothing, and neither does a newer format than ours: whoever wrote it meant something else. What
        was to be ended stays so if it is revoked once more without: the two may come in one fetch.
        """
        id = _id(record)
        if id is None:
            return False
        if record.value is None:
            self._at.pop(id, None)
            self._terminated.discard(id)
            return False
        fields = _fields(record.value)
        if record.timestamp_ms + KEPT_MS <= now_ms or fields is None:
            return False
        is_new = id not in self._at
        self._at[id] = record.timestamp_ms
        self._at.move_to_end(id)
        if fields.get("terminate") is True:
            self._terminated.add(id)
        self.version += is_new
        if len(self._at) > self._most:
            self._forget_oldest()
            self.forgotten += 1
        return is_new

    def tidy(self, now_ms: int) -> None:
        """Forget what was revoked a day ago."""
        while self._at:
            oldest = next(iter(self._at.values()))
            if oldest + KEPT_MS > now_ms:
                return
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        id, _ = self._at.popitem(last=False)
        self._terminated.discard(id)


def _id(record: LogRecord) -> str | None:
    try:
        return record.key.decode() or None
    except UnicodeDecodeError:
        return None


def _fields(value: bytes) -> dict[str, Any] | None:
    """Return what a record says; None if it cannot be read."""
    try:
        fields = jsoncodec.loads(value)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and fields.get("format") == FORMAT else None
