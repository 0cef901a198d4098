"""Ports that stay ours for the whole run, also while nobody listens on them.

A broker that is killed and started again must find its port free. A port from the kernel's ephemeral range would not do: a client
that tries to reconnect to it meanwhile may be given that very number as its own, and TCP then connects the client to itself.
"""

from __future__ import annotations

import fcntl
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

FIRST, LAST = 15_000, 31_999
"""Below the ephemeral ranges of Linux (32768 and up) and macOS (49152 and up)."""


class Port:
    """A TCP port on 127.0.0.1 that no other test process takes until it is released or this process ends."""

    def __init__(self, number: int, lock: IO[bytes]) -> None:
        """Keep an open, locked file; use `reserve_port` to get one."""
        self.number = number
        self._lock = lock

    def release(self) -> None:
        """Let others have it."""
        self._lock.close()


def reserve_port() -> Port:
    """Find a port that is free and that no other test process has reserved.

    Raises:
        OSError: None of 200 tried ones is free.
    """
    folder = Path(tempfile.gettempdir()) / "taskq-test-ports"
    folder.mkdir(mode=0o777, exist_ok=True)
    for number in random.sample(range(FIRST, LAST + 1), 200):
        lock = (folder / str(number)).open("wb")
        if _lock_file(lock) and _is_free(number):
            return Port(number, lock)
        lock.close()
    raise OSError(f"no free port found between {FIRST} and {LAST}")


def _lock_file(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
