"""What can go wrong with requests behind the proxy: rules, which `Proxy`'s methods make and its thread applies."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from types import TracebackType

from tests.support.frames import Request


class Stage(enum.Enum):
    """What the proxy saw of a request, in this order."""

    REQUEST = "the client sent it"
    ANSWER = "the broker answered; a held answer is not passed on yet"
    PASSED = "the client was given the answer"


class Fate(enum.Enum):
    """What happens to a request or its answer."""

    HOLD = "hold it for a while"
    DROP = "drop it"
    CUT = "cut the connection instead of it"


class Rule:
    """Something that goes wrong until `remove` is called or its count is used up. Made by the proxy's methods."""

    def __init__(
        self,
        *,
        on_remove: Callable[[Rule], None],
        keys: frozenset[int],
        stage: Stage,
        fate: Fate,
        seconds: float | None,
        count: int | None,
        client_id: str | None,
    ) -> None:
        """See the proxy's methods."""
        self.keys = keys
        self.stage = stage
        self.fate = fate
        self.seconds = seconds
        self.removed = asyncio.Event()
        self._left = count
        self._client_id = client_id
        self._on_remove = on_remove

    def takes(self, request: Request, stage: Stage) -> bool:
        """Whether it applies now; uses up one of its count if so. Only the proxy's thread calls it."""
        if stage is not self.stage or self._left == 0 or request.api_key not in self.keys:
            return False
        if self._client_id is not None and request.client_id != self._client_id:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    def remove(self) -> None:
        """End it: later requests pass, and what is held is passed on now. Any thread."""
        self._on_remove(self)

    def __enter__(self) -> Rule:
        """Nothing happens: it has applied since it was made."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove it."""
        self.remove()
