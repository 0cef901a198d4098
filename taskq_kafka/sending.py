"""A record on its way to a queue. Pure data; producer.py writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One record to be written to a queue."""

    queue: str
    value: bytes
    headers: Sequence[tuple[str, bytes | None]] = ()
    key: bytes | None = None
