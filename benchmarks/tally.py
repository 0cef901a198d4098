"""What the processes of a worker did and when: each writes one JSON line at its end into the file that `BENCHMARK_TIMES` names.

The clock is `perf_counter`, which on Linux and macOS is the same in all processes of a machine. The tasks of every system that is
measured count here, so that all pay the same for being measured.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

FILE = "BENCHMARK_TIMES"


@dataclass
class Tally:
    """What one process did. Times in seconds; of runs that overlap in threads the counts may be a little low."""

    runs: int = 0
    first: float = 0.0
    """When the first run began."""

    last: float = 0.0
    """When the last run ended."""

    delays: list[float] = field(default_factory=list)
    """Of each task that was told when it was sent: the seconds until it started."""

    def ran(self) -> None:
        """Count a run that ends now."""
        self.last = perf_counter()
        if not self.runs:
            self.first = self.last
        self.runs += 1

    def write(self) -> None:
        """Write what this process did, if it did anything; once."""
        if self.runs:
            with Path(os.environ[FILE]).open("a") as file:
                file.write(json.dumps(asdict(self)) + "\n")
            self.runs = 0


def read(path: Path) -> Tally:
    """Return what all processes did together."""
    lines = path.read_text().splitlines() if path.exists() else []
    each = [Tally(**json.loads(line)) for line in lines]
    if not each:
        return Tally()
    return Tally(
        runs=sum(one.runs for one in each),
        first=min(one.first for one in each),
        last=max(one.last for one in each),
        delays=[delay for one in each for delay in one.delays],
    )
