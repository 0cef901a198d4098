"""Event loops of threads that run `async def` tasks."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class ThreadLoops:
    """An event loop for each thread that runs `async def` tasks; made at the first, and used again. Any thread may call it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._local = threading.local()

    def run(self, work: Awaitable[Any]) -> Any:
        """Run a coroutine to its end; what it left running is cancelled, as `asyncio.run` does."""
        import asyncio  # 4 MB that pool processes with plain functions alone do without

        loop: asyncio.AbstractEventLoop | None = getattr(self._local, "loop", None)
        if loop is None:
            loop = self._local.loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(asyncio.ensure_future(work, loop=loop))
        finally:
            left = asyncio.all_tasks(loop)
            if left:
                for one in left:
                    one.cancel()
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    def close(self) -> None:
        """Close the calling thread's loop."""
        loop: asyncio.AbstractEventLoop | None = getattr(self._local, "loop", None)
        if loop is not None:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            del self._local.loop
