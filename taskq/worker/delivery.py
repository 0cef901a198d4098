"""One record in the worker's hands, from the fetch to the end of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskq.message import Envelope
    from taskq.protocols import Record

_HEADER_BYTES = 256
"""What headers and framing of a usual record add to its value on the way to a child."""


class Delivery:
    """A runnable record and its place in the pool.

    `lane`, `cost_ns` and `ahead_bytes` are the allocator's reservation; `seq` is the pool's number for it within its lane. They
    have no meaning before the record is placed.
    """

    __slots__ = (
        "ahead_bytes",
        "cost_ns",
        "envelope",
        "lane",
        "record",
        "seq",
        "size",
        "task",
    )

    def __init__(self, record: Record, envelope: Envelope, task: str) -> None:
        """Take a record whose headers were found to be good.

        Args:
            record: As fetched.
            envelope: What its headers say.
            task: The name under which the task is registered (not an alias).
        """
        self.record = record
        self.envelope = envelope
        self.task = task
        value = record.value
        self.size = _HEADER_BYTES + (len(value) if value is not None else 0)
        self.lane = -1
        self.cost_ns = 0
        self.ahead_bytes = 0
        self.seq = -1

    @property
    def source(self) -> str:
        """QUEUE/PARTITION/OFFSET: where the record stands, and the key of its dead letter."""
        record = self.record
        return f"{record.queue}/{record.partition}/{record.offset}"

    @property
    def fields(self) -> dict[str, object]:
        """What log records about it carry."""
        return task_fields(self.task, self.envelope.id, self.record)

    def __str__(self) -> str:
        return f"task {self.task}[{self.envelope.id}] ({self.source})"


def task_fields(task: str, id: str, record: Record) -> dict[str, object]:
    """Return what log records about a message carry."""
    return {
        "task": task,
        "id": id,
        "queue": record.queue,
        "partition": record.partition,
        "offset": record.offset,
    }
