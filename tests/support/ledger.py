"""A file in which tasks, in any process, write down what they did, and the count of what ran once, never or twice.

A line is written by one `write` to a file opened for appending, so it is whole also when the process is killed right after, and
lines of several processes do not mix.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: which task, what happened, in which process, and whatever else the task wrote."""

    id: str
    event: str
    pid: int
    detail: str = ""


@dataclass(frozen=True)
class Tally:
    """How often each of the tasks that were sent ran."""

    once: set[str] = field(default_factory=set)
    never: set[str] = field(default_factory=set)
    twice: dict[str, int] = field(default_factory=dict)
    """Ids that ran more than once, and how often."""

    unsent: set[str] = field(default_factory=set)
    """Ids that ran and are not among those sent."""


class Ledger:
    """One file. Any number of processes may write to it, and one may read it meanwhile."""

    def __init__(self, path: Path | str) -> None:
        """Name the file; the first line makes it."""
        self.path = Path(path)

    def write(self, id: str, event: str = "ran", detail: str = "") -> None:
        """Add a line. Ids and events must not contain a space, and nothing a line break.

        What was written survives this process's death, not the machine's.
        """
        line = f"{id} {event} {os.getpid()} {detail}\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def entries(self, event: str | None = None) -> list[Entry]:
        """Return all whole lines so far in the order they were written, or those of one event."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().split("\n")[:-1]
        found = [_read(line) for line in lines]
        return [entry for entry in found if event in (None, entry.event)]

    def ids(self, event: str = "ran") -> list[str]:
        """Return the ids of one event's lines in the order they were written."""
        return [entry.id for entry in self.entries(event)]

    def tally(self, sent: Iterable[str], *, event: str = "ran") -> Tally:
        """Compare what was sent with what ran."""
        counts = Counter(self.ids(event))
        expected = set(sent)
        return Tally(
            once={id for id in expected if counts[id] == 1},
            never={id for id in expected if id not in counts},
            twice={id: count for id, count in counts.items() if count > 1},
            unsent=set(counts) - expected,
        )

    def wait_for(self, count: int, *, event: str = "ran", timeout: float) -> list[Entry]:
        """Block until `count` different tasks have written an event; return all its lines.

        Raises:
            TimeoutError: They had not within `timeout` seconds.
        """

        def look() -> bool:
            return len(set(self.ids(event))) >= count

        wait_until(look, timeout=timeout, what=f"{count} tasks with {event!r} in {self.path}")
        return self.entries(event)


def _read(line: str) -> Entry:
    id, event, pid, detail = line.split(" ", 3)
    return Entry(id, event, int(pid), detail)
