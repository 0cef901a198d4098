"""What a copy of this process must not inherit: threads, and clients of librdkafka.

Threads do not live on in a copy, and the locks that they held stay held there for ever; collecting an inherited client aborts the
process (our own clients are kept from that: taskq_kafka/forks.py). Where the user's modules leave such a thing behind when they are
imported, pool processes cannot be copies of the worker.
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref

_OURS = "taskq_kafka.forks"

_harmless: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def allow(thread: threading.Thread) -> None:
    """Say that a thread never holds a lock, and that copies can do without it."""
    _harmless.add(thread)


def hindrances() -> list[str]:
    """Return in words what stands in the way of a copy at this moment: `thread 'rates'`, `a Kafka Producer`."""
    return _threads() + _kafka_clients()


def _threads() -> list[str]:
    allowed = {threading.current_thread(), *_harmless}
    return [f"thread {each.name!r}" for each in threading.enumerate() if each not in allowed]


def _kafka_clients() -> list[str]:
    """Look only if the client library was imported: walking the heap takes time."""
    library = sys.modules.get("confluent_kafka.cimpl")
    if library is None:
        return []
    clients = (library.Producer, library.Consumer, library._AdminClientImpl)
    # By type(), as isinstance() would wake objects that pretend to be another's.
    kinds = [type(thing) for thing in gc.get_objects() if issubclass(type(thing), clients)]
    return [f"a Kafka {kind.__name__}" for kind in kinds if kind.__module__ != _OURS]
