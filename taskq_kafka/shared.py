"""What a process has one of per configuration: its producer, its admin clients.

The only mutable state at module level in this package: kombu makes a transport object per connection, but a producer costs threads,
sockets and memory, and only one shared by all gives records of one process one order. A forked child begins with nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from .options import TransportOptions

T = TypeVar("T")

_lock = threading.RLock()
_objects: dict[tuple[int, Callable[..., Any], TransportOptions], Any] = {}


def shared(factory: Callable[[TransportOptions], T], options: TransportOptions) -> T:
    """Return this process's object for a factory and options, made at the first call."""
    key = (os.getpid(), factory, options)
    with _lock:
        found = _objects.get(key)
        if found is None:
            found = _objects[key] = factory(options)
        return found


def _forget_lock() -> None:
    """In a forked child: the lock may be held by a thread that does not exist here."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_forget_lock)
