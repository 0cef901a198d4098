"""What all sends of a task without options and hooks have in common: worked out once, not for each of a hundred thousand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskq.message import Format, Writer
from taskq.protocols import Outgoing
from taskq.result import AsyncResult, Revoke
from taskq_kafka.steps import source_of


class PlainSend:
    """Makes messages and results of one task, for its own queue and priority. Any thread may use it."""

    __slots__ = ("_revoke", "_source", "_task", "format", "priority", "queue", "writer")

    def __init__(
        self, task: str, queue: str, *, priority: int, format: Format, revoke: Revoke
    ) -> None:
        """Work out what does not change.

        Args:
            task: The task's name.
            queue: Where it is sent.
            priority: What it is sent with.
            format: How arguments are written.
            revoke: The app's.
        """
        self.queue = queue
        self.priority = priority
        self.format = format
        self.writer = Writer(task, format)
        self._task = task
        self._source = source_of(queue, priority)
        self._revoke = revoke

    def is_for(self, queue: str, priority: int, format: Format) -> bool:
        """Return whether it still stands: settings may have changed since, and a test has others."""
        return self.format is format and self.queue == queue and self.priority == priority

    def message(
        self, id: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Outgoing, AsyncResult[Any]]:
        """Return the record of one call, whose arguments were checked, and what its sender gets.

        Raises:
            EncodeError: An argument cannot be written; names it.
        """
        value, headers = self.writer.write(id, args, kwargs, priority=self.priority)
        result: AsyncResult[Any] = AsyncResult(id, self._task, self.queue, revoke=self._revoke)
        return Outgoing(self._source, value, headers), result
