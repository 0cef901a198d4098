"""Imported by the forkserver: imports the user's modules once, so that children have them from the fork.

This module does work when it is imported and reads a variable, which forkserver.py sets for the while and nobody else, because that
is all multiprocessing offers: the forkserver gets a list of module names and nothing else. It swallows a module's failure (the
forkserver itself would die of most): the modules were imported in the parent before, and the child imports them again and reports
what happens.

What may not be in the forkserver is watched after each module: threads (they do not live on in a child, their locks do), and
handles of librdkafka (garbage-collecting an inherited one aborts the process).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import threading

VARIABLE = "_TASKQ_PRELOAD"
"""JSON: {"modules": [...], "path": sys.path of the parent}. Removed from the environment as soon as it has been read."""

KAFKA_HANDLES = frozenset({"Producer", "Consumer", "AdminClient", "Cimpl"})

leftovers: list[tuple[str, str]] = []
"""Module and what it left behind. Copied into each child by the fork, and reported by it."""


def _threads() -> list[str]:
    return [f"thread {t.name!r}" for t in threading.enumerate() if t is not threading.main_thread()]


def _kafka_handles() -> list[str]:
    """Return the kinds of live librdkafka handles. Looks only if the client library was imported: walking the heap takes time."""
    if not any(name.partition(".")[0] == "confluent_kafka" for name in sys.modules):
        return []
    return [
        f"a Kafka {type(thing).__name__}"
        for thing in gc.get_objects()
        if type(thing).__module__.partition(".")[0] in {"confluent_kafka", "cimpl"}
        and type(thing).__name__ in KAFKA_HANDLES
    ]


def _preload(modules: list[str]) -> None:
    seen = 0
    for name in modules:
        with contextlib.suppress(BaseException):
            importlib.import_module(name)
        found = _threads() + _kafka_handles()
        leftovers.extend((name, what) for what in found[seen:])
        seen = max(seen, len(found))


_wish = os.environ.pop(VARIABLE, "")
if _wish:
    _plan = json.loads(_wish)
    sys.path[:] = _plan["path"]
    _preload(_plan["modules"])
