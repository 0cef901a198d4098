"""Which tasks there are: names and aliases to tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskq.errors import DuplicateTask, UnknownTask
from taskq.near import nearest
from taskq.task import Task
from taskq_kafka.steps import queue_of_source

AnyTask = Task[..., Any, Any]

NO_TASKS = "the app has no tasks; name its module with -A"
"""What commands say of an app whose registry is empty."""


class Registry:
    """The tasks of one app. Filled while modules are imported; afterwards any thread may read it."""

    def __init__(self) -> None:
        self._by_name: dict[str, AnyTask] = {}

    def add(self, task: AnyTask) -> None:
        """Register a task under its name and aliases.

        Raises:
            DuplicateTask: Another function has one of the names; none is registered then.
        """
        names = (task.name, *task.aliases)
        for name in names:
            other = self._by_name.get(name)
            # A module that is imported twice (as __main__ and by its name, or reloaded) brings the same function again.
            if other is not None and other.place != task.place:
                raise DuplicateTask(name, other.place, task.place)
        for name in names:
            self._by_name[name] = task

    def get(self, name: str) -> AnyTask | None:
        """Return the task of a name or alias, or None."""
        return self._by_name.get(name)

    def find(self, name: str, queue: str = "") -> AnyTask:
        """Return the task of a name or alias.

        Args:
            name: What a message asks for.
            queue: Where it stood, a queue or a step of one, for the error.

        Raises:
            UnknownTask: There is none; names the nearest.
        """
        task = self._by_name.get(name)
        if task is None:
            raise UnknownTask(name, queue_of_source(queue), nearest(name, self._by_name))
        return task

    def names(self) -> list[str]:
        """Return all names and aliases, sorted."""
        return sorted(self._by_name)

    def queues(self) -> list[str]:
        """Return the queues of all tasks, sorted."""
        return sorted({task.queue for task in self})

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[AnyTask]:
        """Iterate over the tasks, each once, by name."""
        return iter(sorted(set(self._by_name.values()), key=lambda task: task.name))

    def __len__(self) -> int:
        return len(set(self._by_name.values()))
