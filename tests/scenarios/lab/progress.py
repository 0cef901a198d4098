"""What the ledger of a running load says so far, read on as it grows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.scenarios.apps.faults import STARTED
from tests.scenarios.lab.blame import Repeat


class Progress:
    """Counts of starts and ends by task. One thread reads on; others may ask for the numbers meanwhile."""

    def __init__(self, path: Path) -> None:
        """Read the ledger at `path`, which need not be there yet."""
        self._path = path
        self._position = 0
        self.starts: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.begun: dict[str, float] = {}
        """When a task first started, as `waiting.moment` counts."""

        self.repeats: list[Repeat] = []
        """Starts of tasks that had started before."""

        self.pids: set[int] = set()
        """The processes that have run a task."""

        self.longest_stall = 0.0
        """Seconds between two starts, no matter of what."""

        self._last = 0.0
        self._pid_of: dict[str, int] = {}
        """In which process a task started the last time."""

    def read_on(self) -> None:
        """Take in the whole lines that have come."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.decode().splitlines():
            id, event, pid, detail = line.split(" ", 3)
            if event == STARTED:
                self._enter_start(id, int(pid), float(detail))
            else:
                self.ends[id] += 1

    def _enter_start(self, id: str, pid: int, at: float) -> None:
        if id in self.starts:
            self.repeats.append(Repeat(id, at, self._pid_of[id]))
        self.starts[id] += 1
        self._pid_of[id] = pid
        self.begun.setdefault(id, at)
        self.pids.add(pid)
        if self._last:
            self.longest_stall = max(self.longest_stall, at - self._last)
        self._last = max(self._last, at)
