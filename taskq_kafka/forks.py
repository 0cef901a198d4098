"""Clients of librdkafka that survive a fork of the process they live in.

librdkafka's threads do not exist in a forked child: a client that is used there hangs or delivers twice, and one that is merely
garbage-collected there aborts the process, even at a normal exit. So every client is made here. It is counted up in each child, for
ever, so that nothing can collect it there; and whoever keeps one asks `Owner` whether it still belongs to this process.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from typing import Any, Final, TypeVar

import confluent_kafka
import confluent_kafka.admin

from .errors import NotThisProcess
from .options import map_client_error

HELD_SECONDS: Final = 5.0
"""Until whoever still has a reference to a client that is let go is done with it."""


class Producer(confluent_kafka.Producer):
    """confluent_kafka.Producer that survives a fork."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        track(self)


class Consumer(confluent_kafka.Consumer):
    """confluent_kafka.Consumer that survives a fork. One thread at a time makes calls to it."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        track(self)


class AdminClient(confluent_kafka.admin.AdminClient):
    """confluent_kafka's AdminClient that survives a fork. Any thread may call it.

    Keep it referenced while a future of it is open: collected, it never answers.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        track(self)


_Client = TypeVar("_Client", Producer, Consumer, AdminClient)

_live: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""Every client of this process that has not been collected. Process-wide, as a fork is."""


def track(handle: Producer | Consumer | AdminClient) -> None:
    """Have a client kept alive in every child that this process forks from now on.

    Raises:
        TypeError: It is a class of confluent_kafka itself, which cannot be referred to weakly; use the one in this module.
    """
    _live.add(handle)


def new_producer(config: dict[str, Any]) -> Producer:
    """Make a Producer.

    Raises:
        ConfigInvalid: librdkafka knows no such option or value.
    """
    return _make(Producer, config)


def new_consumer(config: dict[str, Any]) -> Consumer:
    """Make a Consumer. One thread at a time makes calls to it.

    Raises:
        ConfigInvalid: librdkafka knows no such option or value.
    """
    return _make(Consumer, config)


def new_admin(config: dict[str, Any]) -> AdminClient:
    """Make an AdminClient. Any thread may call it.

    Raises:
        ConfigInvalid: librdkafka knows no such option or value.
    """
    return _make(AdminClient, config)


def let_go(client: Producer | AdminClient) -> None:
    """Drop the last reference to a client later, in a thread of its own.

    librdkafka waits for all threads of a client that is collected, and those of one that is cut off from its brokers may never end
    (docs/decisions/0027-clients-that-stay-away.md).
    """
    held = [client]
    timer = threading.Timer(HELD_SECONDS, held.clear)
    timer.daemon = True
    timer.start()


class Owner:
    """Remembers the process in which it was made."""

    __slots__ = ("_pid",)

    def __init__(self) -> None:
        self._pid = os.getpid()

    def is_here(self) -> bool:
        """Whether this is that process. Takes 0.1 µs."""
        return os.getpid() == self._pid

    def require(self) -> None:
        """Raise unless this is that process.

        Raises:
            NotThisProcess: This is a fork of it.
        """
        if os.getpid() != self._pid:
            raise NotThisProcess(self._pid)


def _make(cls: type[_Client], config: dict[str, Any]) -> _Client:
    """Make a client; errors become ours."""
    try:
        return cls(config)
    except confluent_kafka.KafkaException as error:
        raise map_client_error(error, config) from error


def _make_immortal() -> None:
    """In a forked child: take one reference to each inherited client that is never given back."""
    for handle in list(_live):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))
    _live.clear()


os.register_at_fork(after_in_child=_make_immortal)
