"""How many CPUs this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/cpu.max")
"""cgroup v2's limit as a container sees its own: `MAX PERIOD` in microseconds, or `max PERIOD`."""


def available_cpus(limit_file: Path = _CGROUP) -> int:
    """Return the CPUs of the process's affinity, or fewer where its cgroup allows less; at least 1.

    Args:
        limit_file: Where the cgroup's limit stands.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        limit, period = limit_file.read_text(encoding="ascii").split()[:2]
        allowed = -(-int(limit) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return cpus
    return max(1, min(cpus, allowed))
