"""One record in the worker's hands, from the fetch to the end of its run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from taskq_kafka.steps import queue_of_source

if TYPE_CHECKING:
    from taskq.message import Envelope
    from taskq.protocols import Record

_HEADER_BYTES = 256
"""What headers and framing of a usual record add to its value on the way to a child."""


class Acks(Protocol):
    """Who is told of the ends of tasks that settle after their run. Any thread may call it."""

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Deliveries have ended, and all that follows from it is acknowledged by the broker: they can be settled."""

    def died(self, delivery: Delivery) -> bool:
        """A process died with a delivery, and it is to run again; return False if it is void."""

    def go_on(self, delivery: Delivery, again: Delivery) -> bool:
        """A delivery's next run is another delivery, with which it ends; return False if it is void."""


class Order(Protocol):
    """Who is told of the ends of tasks with a key. Any thread may call it."""

    def ended(self, delivery: Delivery) -> None:
        """A delivery has ended: the next of its key may start. Nothing if its key is held for its next run."""

    def await_again(self, deliveries: Iterable[Delivery]) -> None:
        """Deliveries will be fetched again, before others of their keys start."""

    def forget(self, delivery: Delivery) -> None:
        """A delivery will not be fetched again here."""

    def hold(self, ended: Delivery, again: Delivery, *, due: float, due_ms: int) -> bool:
        """Have a delivery followed by its next run, when it is due; return False if nobody would run it."""


class Delivery:
    """A runnable record and its place in the pool.

    `lane`, `cost_ns` and `ahead_bytes` are the allocator's reservation; `seq` is the pool's number for it within its lane. They
    have no meaning before the record is placed.

    Of a `late` one (`acks_late`) `acks` is told the end, from its claim on; it `is_void` when its partition went to another worker
    meanwhile, so that its end settles nothing. One that `is_suspect` is to be alone at work in its process.

    One that `is_revoked` is not to be started, and not to be started again; one that `is_to_end` is to be ended, too, if it runs.

    Of one with a `key` the `order` is told the end, from its claim on. An empty key is none: some clients write it for none.
    """

    __slots__ = (
        "acks",
        "ahead_bytes",
        "cost_ns",
        "envelope",
        "is_revoked",
        "is_suspect",
        "is_to_end",
        "is_void",
        "key",
        "lane",
        "late",
        "order",
        "record",
        "seq",
        "size",
        "task",
        "time_limit",
    )

    def __init__(
        self,
        record: Record,
        envelope: Envelope,
        task: str,
        *,
        late: bool = False,
        time_limit: float | None = None,
    ) -> None:
        """Take a record whose headers were found to be good.

        Args:
            record: As fetched.
            envelope: What its headers say.
            task: The name under which the task is registered (not an alias).
            late: Whether it is settled after its run.
            time_limit: Seconds that it may run; None: any number.
        """
        self.record = record
        self.envelope = envelope
        self.task = task
        self.late = late
        self.is_suspect = late and record.is_suspect
        self.is_void = False
        self.is_revoked = False
        self.is_to_end = False
        self.acks: Acks | None = None
        self.key = record.key or None
        self.order: Order | None = None
        self.time_limit = time_limit
        value = record.value
        self.size = _HEADER_BYTES + (len(value) if value is not None else 0)
        self.lane = -1
        self.cost_ns = 0
        self.ahead_bytes = 0
        self.seq = -1

    def again(self, record: Record, envelope: Envelope) -> Delivery:
        """Return the delivery of its next run, in its place."""
        next_run = Delivery(record, envelope, self.task, late=self.late, time_limit=self.time_limit)
        next_run.is_suspect = self.is_suspect  # it may have been let off meanwhile
        next_run.acks = self.acks
        return next_run

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
        "queue": queue_of_source(record.queue),
        "partition": record.partition,
        "offset": record.offset,
    }
