"""Waits between tries of what keeps failing: each twice as long as the one before, up to a limit. Pure: nobody waits here."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """The waits of one thing that fails."""

    def __init__(
        self, first: float, longest: float, *, jitter: Callable[[], float] = random.random
    ) -> None:
        """Begin with the first wait.

        Args:
            first: Seconds of the first wait.
            longest: Seconds that no wait exceeds.
            jitter: Returns 0 to 1, of which half is how much a wait is shortened, so that many who failed together do not all try
                again together.
        """
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._wait = first

    def next(self) -> float:
        """Return the seconds to wait now; the next wait is longer."""
        wait = self._wait
        self._wait = min(wait * 2, self._longest)
        return wait * (1 - self._jitter() / 2)

    def reset(self) -> None:
        """Begin with the first wait again."""
        self._wait = self._first
