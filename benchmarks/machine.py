"""What figures depend on besides the program: the machine, and the versions of all that takes part."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("taskq-kafka", "confluent-kafka", "kombu", "celery", "redis")
PEERS = ("dramatiq", "taskiq-aio-kafka", "aiokafka")
"""Of the measure `peers`; named only where they are installed."""


def description() -> dict[str, str]:
    """Return names and values, for the head of a table."""
    found = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": platform.platform(),
        "python": platform.python_version(),
        "kafka": "4.3.1",
        "redis-server": _first_line("redis-server", "--version"),
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    for package in PEERS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )[0]
    except OSError:
        return "not installed"
