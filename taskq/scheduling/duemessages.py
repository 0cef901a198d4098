"""The message of an occurrence. Pure."""

from __future__ import annotations

from typing import Any

from taskq.message import Format, encode
from taskq.protocols import Outgoing
from taskq.scheduling.occurrences import Occurrence
from taskq_kafka.steps import source_of


def message_of(
    occurrence: Occurrence,
    queue: str,
    format: Format,
    *,
    priority: int = 0,
    task_id: str | None = None,
) -> Outgoing:
    """Return the message that runs an occurrence's task.

    Args:
        occurrence: The occurrence; its name is the task's id.
        queue: Where the entry names none.
        format: How arguments are written.
        priority: Its priority where the entry names none.
        task_id: None: the occurrence's name.

    Raises:
        EncodeError: The arguments or headers cannot be written.
    """
    entry = occurrence.definition.entry
    headers: dict[str, Any] = {**entry.headers, "scheduled_for": occurrence.scheduled_for}
    priority = priority if entry.priority is None else entry.priority
    expires = occurrence.expires
    if expires is not None:
        headers["expires"] = expires.isoformat()  # Celery's form of an instant
    value, written = encode(
        entry.task,
        task_id or occurrence.task_id,
        entry.args,
        entry.kwargs,
        headers=headers,
        format=format,
        priority=priority,
    )
    key = None if entry.key is None else entry.key.encode()
    return Outgoing(source_of(entry.queue or queue, priority), value, written, key)
