"""The numbers that a pool process and its parent share, and the lock that guards them: a file of 32 bytes that is only in memory.

The lock is the system's, on that file (`fcntl.lockf`): unlike a semaphore it is let go when the process that has it dies, it needs
no name that somebody must remove, and it can be handed to a process that exists already. It keeps two processes apart, not two
threads; and a process loses it when it closes any descriptor of that file, so each side keeps one.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from multiprocessing import reduction
from typing import Any

STARTED, DONE, RECALL_FROM, RECALL_TO = range(4)
"""Places, all 64-bit. The parent writes the last two, the child the first two; `STARTED` and the recall range are only touched
under the lock. Deliveries from RECALL_FROM to RECALL_TO (exclusive) that are not started must not be."""

_BYTES = 4 * 8


class ChildState:
    """One side's view of it. Not closed by itself: whoever has one closes it."""

    def __init__(self, descriptor: int) -> None:
        """Take over the file's descriptor."""
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, _BYTES)
        self.numbers = memoryview(self._map).cast("q")
        self._is_closed = False

    @classmethod
    def new(cls) -> ChildState:
        """Make one, all numbers zero.

        Raises:
            OSError: The system gives no more files.
        """
        descriptor = _memory_file()
        try:
            os.ftruncate(descriptor, _BYTES)
            return cls(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def lock(self) -> None:
        """Wait for the lock: the other side has it for some instructions, or is about to kill this process."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)

    def try_lock(self) -> bool:
        """Take the lock if the other side does not have it; return whether it was taken. Not once it is closed."""
        if self._is_closed:
            return False
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def unlock(self) -> None:
        """Let it go."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the descriptor, and let the lock go with it; the numbers can still be read."""
        if not self._is_closed:
            self._is_closed = True
            os.close(self.descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to a process that multiprocessing starts, as an argument of it."""
        return _arrived, (reduction.DupFd(self.descriptor),)


def _arrived(descriptor: Any) -> ChildState:
    return ChildState(descriptor.detach())


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("taskq-child", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
