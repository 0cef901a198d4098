"""What a stored dead letter says, for people and programs. Pure; writing and fetching them is the transport's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taskq.protocols import StoredDeadLetter

_PREFIX = "dlq-"


@dataclass(frozen=True, slots=True)
class DeadLetterView:
    """A dead letter, read as far as it can be."""

    id: str
    """The task's id; where the record had none that can be read, its source."""

    task: str | None
    queue: str
    reason: str | None
    error: str | None
    attempts: int | None
    failed_at: str | None
    """When it failed for good, as its writer put it."""

    source: str
    """QUEUE/PARTITION/OFFSET of the record that failed."""

    traceback: str | None
    details: Mapping[str, str]
    """All `dlq-*` headers but the traceback, without the prefix."""

    headers: Mapping[str, str]
    """The record's own headers; what is not UTF-8 is escaped."""

    value: bytes | None
    """The record's value, byte for byte; None where the record had none."""


def read_dead_letter(letter: StoredDeadLetter) -> DeadLetterView:
    """Return what a dead letter says."""
    ours: dict[str, str] = {}
    own: dict[str, str] = {}
    for name, value in letter.headers:
        text = (value or b"").decode(errors="backslashreplace")
        if name.startswith(_PREFIX):
            ours[name[len(_PREFIX) :]] = text
        else:
            own[name] = text
    attempts = ours.get("attempts", "")
    has_no_value = ours.pop("null-value", None) is not None
    traceback = ours.pop("traceback", None)
    return DeadLetterView(
        id=ours.get("id") or letter.id,
        task=ours.get("task"),
        queue=letter.queue,
        reason=ours.get("reason"),
        error=ours.get("error"),
        attempts=int(attempts) if attempts.isdecimal() else None,
        failed_at=ours.get("failed"),
        source=letter.id,
        traceback=traceback,
        details=ours,
        headers=own,
        value=None if has_no_value else letter.value,
    )


def source_queue(text: str) -> str | None:
    """Return the queue of QUEUE/PARTITION/OFFSET, or None if the text has not that form."""
    parts = text.split("/")
    is_source = len(parts) == 3 and bool(parts[0]) and all(part.isdecimal() for part in parts[1:])
    return parts[0] if is_source else None
