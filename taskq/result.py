"""What sending a task returns."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from taskq.errors import UsageError

R = TypeVar("R", covariant=True)


class Revoke(Protocol):
    """An app's `revoke`."""

    def __call__(self, *ids: str, terminate: bool = False) -> None:
        """Have tasks not run, or ended if they run."""


class AsyncResult(Generic[R]):
    """A task that was sent; `R` is what it will return. There is no store of results: the type is for readers and mypy."""

    __slots__ = ("_revoke", "id", "queue", "task")

    def __init__(self, id: str, task: str, queue: str, *, revoke: Revoke | None = None) -> None:
        """Note what was sent.

        Args:
            id: The task's id.
            task: Its name.
            queue: Where it was sent.
            revoke: The app's; None: it cannot be revoked through this object.
        """
        self.id = id
        self.task = task
        self.queue = queue
        self._revoke = revoke

    def revoke(self, *, terminate: bool = False) -> None:
        """Have the task not run: one that waits for its time is cancelled, and for a day no worker begins it.

        Blocks until the broker has acknowledged it; workers hear of it a moment later.

        Args:
            terminate: Whether it is ended, too, if it runs; else it goes on. See the app's `revoke`.

        Raises:
            BrokerUnreachable: No broker answered; it may or may not be revoked.
            BrokerRefused: The log of revocations cannot be used.
            UsageError: The result was made by hand, or comes from another process: call the app's `revoke`.
        """
        if self._revoke is None:
            raise UsageError(
                f"nothing says which app sent {self.id}; call revoke({self.id!r}) of that app"
            )
        self._revoke(self.id, terminate=terminate)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the app, which is its process's."""
        return AsyncResult, (self.id, self.task, self.queue)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<AsyncResult {self.task}[{self.id}] in {self.queue}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)
