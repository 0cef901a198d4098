"""Tasks that harm the process they run in, beside those of `tests.support.scene_tasks`, in one app."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

from taskq import SoftTimeLimitExceeded
from tests.support.scene_tasks import app, note

__all__ = ["app"]

ROOM = 64 * 1024 * 1024
"""Bytes that a hoarder may take: as a container's limit, but without an end for the test's own processes."""

_leaked: list[bytes] = []


@app.task("segfault")
def segfault() -> None:
    note("poisoned")
    ctypes.string_at(0)


@app.task("kill_itself")
def kill_itself() -> None:
    note("poisoned")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task("call_exit")
def call_exit() -> None:
    note("poisoned")
    sys.exit(7)


@app.task("recurse")
def recurse(depth: int = 0) -> int:
    if not depth:
        note("poisoned")
    return recurse(depth + 1) + 1


@app.task("loop", time_limit=1.0)
def loop() -> None:
    note("poisoned")
    while True:
        pass


@app.task("loop_on", time_limit=1.0, soft_time_limit=0.2)
def loop_on() -> None:
    note("poisoned")
    while True:
        try:
            while True:
                pass
        except SoftTimeLimitExceeded:
            pass


@app.task("hoard")
def hoard() -> None:
    """Take memory until the system refuses it."""
    note("poisoned")
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    hoarded: list[bytes] = []
    try:
        while True:
            hoarded.append(bytes(1024 * 1024))
    finally:
        hoarded.clear()
        resource.setrlimit(resource.RLIMIT_AS, before)


@app.task("leak")
def leak() -> None:
    """Succeed, and leave the process larger than it may be."""
    note("poisoned")
    _leaked.append(b"x" * 150_000_000)
