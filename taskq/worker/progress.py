"""What an intake's thread tells of itself while it works: that it came by, and what it waits for. Judged in health.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """Of one intake. Its thread tells, any thread reads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Begin as having moved just now.

        Args:
            monotonic: The clock's.
        """
        self._monotonic = monotonic
        self.moved = monotonic()
        """When the thread last came by, monotonic seconds."""

        self.waits_for = ""
        """What takes as long as the broker does, if it waits for such."""

    def move(self) -> None:
        """Tell that the thread came by."""
        self.moved = self._monotonic()

    @contextmanager
    def waiting_for(self, what: str) -> Iterator[None]:
        """Tell that what follows takes as long as the broker does."""
        self.waits_for = what
        try:
            yield
        finally:
            self.move()  # first: else it seems to stand still in between
            self.waits_for = ""
