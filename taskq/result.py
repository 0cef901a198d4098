"""What sending a task returns."""

from __future__ import annotations

from typing import Generic, TypeVar

R = TypeVar("R", covariant=True)


class AsyncResult(Generic[R]):
    """A task that was sent; `R` is what it will return. There is no store of results: the type is for readers and mypy."""

    __slots__ = ("id", "queue", "task")

    def __init__(self, id: str, task: str, queue: str) -> None:
        self.id = id
        self.task = task
        self.queue = queue

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<AsyncResult {self.task}[{self.id}] in {self.queue}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)
