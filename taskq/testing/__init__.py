"""Tests of code that uses tasks: an app on `memory://`, in this process, with the semantics of the real thing.

Works with any test framework; for pytest there is a plugin (taskq_pytest) with the fixture `taskq_app`. Nothing else of taskq
imports this.
"""

from taskq.testing.engine import NeverIdle, TaskNotRun
from taskq.testing.onmemory import AppOnMemory, on_memory
from taskq.testing.recorder import Sent
from taskq.testing.runs import Run

__all__ = ["AppOnMemory", "NeverIdle", "Run", "Sent", "TaskNotRun", "on_memory"]
