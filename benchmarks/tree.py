"""What a process and all its descendants use: processor time and memory. Linux only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from tests.support.processes import process_table

_TICKS = os.sysconf("SC_CLK_TCK")


def family(session: int) -> list[int]:
    """Return the processes of a session: its leader, whose number it has, and what that has started."""
    return [entry.pid for entry in process_table() if entry.session == session]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that processes have used, and those of their children that have ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime (proc(5))
    return total / _TICKS


def pss_mb(pids: Iterable[int]) -> float:
    """Return the memory of processes in MB, with shared pages divided among those that share them (PSS)."""
    kilobytes = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kilobytes += int(line.split()[1])
    return kilobytes / 1000
