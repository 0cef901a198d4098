"""Files that change, for `taskq dev --reload`: Python files are watched by watchfiles, schedule files as beat does it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue

from taskq.errors import TaskqError, UsageError
from taskq.scheduling.schedulefile import signature_of

_LOOK_MS = 200
"""Milliseconds between two looks at the schedule files."""

_READY_SECONDS = 10.0


def check_watchfiles() -> None:
    """Raise if files cannot be watched.

    Raises:
        UsageError: The package for it is not installed.
    """
    if find_spec("watchfiles") is None:
        raise UsageError("--reload needs the package watchfiles: pip install 'taskq-kafka[reload]'")


class Watch:
    """Watches in a thread of its own. The methods are for one other thread."""

    def __init__(self, folders: Sequence[Path], files: Sequence[str]) -> None:
        """Take what is to be watched; nothing is yet.

        Args:
            folders: With all below them, except environments, caches and version control.
            files: Schedule files.
        """
        self._folders = folders
        self._signatures = {file: signature_of(file) for file in files}
        self._changed: SimpleQueue[str | Exception] = SimpleQueue()
        self._read_end, self._write_end = os.pipe()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taskq-watch", daemon=True)

    def start(self) -> None:
        """Begin; what changes after this is seen."""
        self._thread.start()
        self._ready.wait(_READY_SECONDS)

    def fileno(self) -> int:
        """Return what becomes readable when something has changed."""
        return self._read_end

    def take(self) -> list[str]:
        """Return what has changed, as a person names it; waits for it.

        Raises:
            TaskqError: The files can be watched no more.
        """
        os.read(self._read_end, 4096)
        names: list[str] = []
        while True:
            try:
                change = self._changed.get_nowait()
            except Empty:
                return sorted(set(names))
            if isinstance(change, Exception):
                raise TaskqError(f"files cannot be watched: {change}") from change
            names.append(_shown(change))

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        os.close(self._read_end)
        os.close(self._write_end)

    def _run(self) -> None:
        try:
            self._look()
        except (OSError, RuntimeError) as error:  # a limit of the system, a folder that went away
            self._tell([error])
            self._ready.set()

    def _look(self) -> None:
        from watchfiles import PythonFilter, watch

        turns = watch(
            *self._folders,
            watch_filter=PythonFilter(),
            stop_event=self._stop,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        for changes in turns:
            self._ready.set()
            self._tell([*(path for _, path in changes), *self._changed_schedules()])

    def _changed_schedules(self) -> list[str]:
        now = {file: signature_of(file) for file in self._signatures}
        changed = [file for file, signature in now.items() if signature != self._signatures[file]]
        self._signatures = now
        return changed

    def _tell(self, changes: Iterable[str | Exception]) -> None:
        for change in changes:
            self._changed.put(change)
            os.write(self._write_end, b".")


def _shown(path: str) -> str:
    """Return a path relative to the working directory, if it is below it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
