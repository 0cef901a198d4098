"""Having a pool process hold tasks ahead for certain: how many it gets depends on how long tasks took just before."""

from __future__ import annotations

import os
import re
import signal

from taskq.worker.runtimes import SHORT_NS, Runtimes
from tests.support.processes import Process, wait_asleep
from tests.support.scene import Scene
from tests.support.waiting import wait_until

FEW = 5
"""Tasks that a slot surely holds ahead of what the worker knows as short: six of 0.8 ms are worth 5 ms, half of what a slot may
hold, and until then it takes every one that comes."""

_SURELY_SHORT_NS = 800_000
_ROUNDED_SECONDS = 0.0005
"""What the log may leave out of each run."""


def only_child(scene: Scene) -> int:
    """Return the one process that has run tasks."""
    (pid,) = scene.pids()
    return pid


def freeze_idle(child: int) -> None:
    """Freeze a pool process whose tasks have all ended, but not before it has reported the last: that would be a slow task."""
    wait_asleep(child)
    os.kill(child, signal.SIGSTOP)


def make_surely_short(scene: Scene, worker: Process) -> None:
    """Run tasks until the worker's average of them, at the most that its log allows, is so short that `FEW` go ahead."""

    def look() -> bool:
        took = re.findall(r"succeeded in (\S+)s$", worker.text, re.MULTILINE)
        if len(took) < len(scene.sent):
            return False  # the log comes after the ledger
        runtimes = Runtimes()
        for text in took:
            runtimes.observe("act", float(text) + _ROUNDED_SECONDS)
        if (runtimes.short_ns("act") or SHORT_NS) <= _SURELY_SHORT_NS:
            return True
        scene.make_short(20)
        return False

    scene.make_short()
    wait_until(look, timeout=60, what="short tasks")


def hand_out_to_frozen(scene: Scene, child: int, what: str, detail: object) -> str:
    """Have a frozen child hold a task and `FEW` behind it; return the first's id. It runs when the child is thawed."""
    claimed = scene.claimed()
    freeze_idle(child)
    first = scene.send(what, detail)
    scene.send_many(FEW)
    scene.wait_claimed(claimed + 1 + FEW)
    return first
