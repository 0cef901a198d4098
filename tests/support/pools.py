"""What a pool tells, kept for a test; and deliveries without a broker."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskq.message import encode, read_headers
from taskq.protocols import HeaderList
from taskq.running.runresult import Result
from taskq.worker.delivery import Delivery

_offsets = itertools.count()


@dataclass
class PlainRecord:
    """A `taskq.protocols.Record`."""

    queue: str = "q"
    partition: int = 0
    offset: int = field(default_factory=lambda: next(_offsets))
    timestamp_ms: int = 0
    key: bytes | None = None
    value: bytes | None = b""
    headers: HeaderList = ()
    delivery_tag: int = 0
    redelivered: bool = False
    offset_expired: bool = False
    deliveries: int = 0
    deaths: int = 0
    is_suspect: bool = False
    lived: bool = False


def record_of(task: str, *args: Any, id: str = "", embed: Any = None, **more: Any) -> PlainRecord:
    """Return a record that asks for a task."""
    headers = more.pop("extra", None)
    record = PlainRecord(**more)
    record.delivery_tag = record.offset
    value, written = encode(
        task, id or f"{task}-{record.offset}", args, {}, headers=headers, embed=embed
    )
    record.value, record.headers = value, written
    return record


def delivery_of(
    task: str,
    *args: Any,
    cost_ns: int = -1,
    limits: tuple[float | None, float | None] | None = None,
    **more: Any,
) -> Delivery:
    """Return a delivery for lane 0 as an intake would hand it out.

    Args:
        task: Its task's name.
        args: Its arguments.
        cost_ns: -1: not known to be short.
        limits: Time limit and soft time limit, in the message's header.
        more: See `record_of`.
    """
    if limits is not None:
        more["extra"] = {"timelimit": list(limits), **(more.get("extra") or {})}
    record = record_of(task, *args, **more)
    delivery = Delivery(
        record, read_headers(record), task, time_limit=limits[0] if limits else None
    )
    delivery.lane, delivery.cost_ns = 0, cost_ns
    return delivery


class PoolLog:
    """A `PoolEvents` that remembers."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self.results: list[tuple[Delivery, Result]] = []
        self.returned: list[Delivery] = []
        self.slow: list[Delivery] = []
        self.open: dict[int, bool] = {}

    def on_results(self, lane: int, results: Sequence[tuple[Delivery, Result]]) -> None:
        with self._change:
            self.results += results
            self._change.notify_all()

    def on_returned(self, deliveries: Sequence[Delivery]) -> None:
        with self._change:
            self.returned += deliveries
            self._change.notify_all()

    def on_slow(self, delivery: Delivery) -> None:
        with self._change:
            self.slow.append(delivery)
            self._change.notify_all()

    def on_lane(self, lane: int, *, is_open: bool) -> None:
        with self._change:
            self.open[lane] = is_open
            self._change.notify_all()

    def wait(self, look: Callable[[], Any], timeout: float = 60.0) -> None:
        """Wait until `look` is true after something was told."""
        with self._change:
            assert self._change.wait_for(look, timeout), "waited in vain"

    def result_of(self, delivery: Delivery) -> Result:
        """Return the one result of a delivery."""
        (found,) = [result for other, result in self.results if other is delivery]
        return found
