"""Where schedules come from: a file that is watched, or the tasks of a module.

One thread owns a source. What a load means for the schedules is in `taskq.scheduling.reconcile`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from taskq import jsoncodec
from taskq.errors import ScheduleFileError, TaskqError, UsageError
from taskq.scheduling.reconcile import Offer
from taskq.scheduling.schedule import ScheduleEntry
from taskq.scheduling.schedulefile import ScheduleFile, Signature, read_schedule_file, signature_of

logger = logging.getLogger(__name__)

_MOST_LOOKS = 64
"""Looks that a refused file is left alone at most: each try reads the whole log, and a look comes twice in a second."""

_SEPARATORS = "/#"  # they part a namespace from an id in keys and task ids


def check_namespace(namespace: str) -> str:
    """Return a namespace if it is allowed.

    Raises:
        UsageError: It is empty, or holds a character that parts it from an id.
    """
    if not namespace.strip() or not namespace.isprintable():
        raise UsageError(f"invalid namespace {namespace!r}: it must be text that can be printed")
    for character in _SEPARATORS:
        if character in namespace:
            raise UsageError(f"invalid namespace {namespace!r}: {character!r} is not allowed in it")
    return namespace


def _namespace_of(path: str) -> str:
    """Return the namespace that a file's name stands for."""
    name = Path(path).stem
    if not name:
        raise ScheduleFileError(path, ["is a directory"])
    try:
        return check_namespace(name)
    except UsageError as error:
        raise UsageError(
            f"schedule file {path}: its name makes an {error}; choose another with --namespace or TASKQ_NAMESPACE"
        ) from None


class ScheduleSource:
    """One schedule file, its namespace, and what was last read of it."""

    def __init__(self, path: str, namespace: str | None = None) -> None:
        """Take a file; nothing is read yet.

        Args:
            path: The file.
            namespace: None takes the file's name without its ending.

        Raises:
            UsageError: The namespace is not allowed.
            ScheduleFileError: The path ends with no name.
        """
        self.path = path
        self.namespace = _namespace_of(path) if namespace is None else check_namespace(namespace)
        self._signature: Signature | None = None
        self._digest = ""
        self._read_again = False
        self._pause = self._looks_left = 0
        """For how many looks a refused file is left alone, and how many of them are to come."""

        self._complaint = ""

    @property
    def origin(self) -> str:
        """What stands as origin in definitions from this file: its name alone, as its replicas may stand elsewhere."""
        return f"file:{Path(self.path).name}"

    def offer(self, file: ScheduleFile) -> Offer:
        """Return what was read as what is to be in force."""
        return Offer(self.namespace, self.origin, self.path, file.digest, file.entries)

    def read(self) -> ScheduleFile:
        """Read the file for the first time. Blocks for the disk.

        Raises:
            ScheduleFileError: It cannot be used.
        """
        self._signature = signature_of(self.path)
        file = read_schedule_file(self.path)
        self._digest = file.digest
        return file

    def read_if_changed(self) -> ScheduleFile | None:
        """Return the file if its content has changed; reads it only if its size, times or place on disk have.

        A file that cannot be used is told in the log, once for each reason, and what was read before stays in force.
        """
        signature = signature_of(self.path)
        if signature != self._signature:
            self._pause = 0
        elif not self._read_again:
            return None
        elif self._looks_left:
            self._looks_left -= 1
            return None
        # A second write within one tick of the file's clock changes no time: so a changed file is read twice.
        self._read_again = signature != self._signature
        self._signature = signature
        try:
            file = read_schedule_file(self.path)
        except ScheduleFileError as error:
            self._complain(error)
            return None
        if file.digest == self._digest:
            self.accept()  # it was wrong for a while, and is what it was before
            return None
        self._digest = file.digest
        return file

    def accept(self) -> None:
        """Note that what was read is in force; told if it was not before."""
        self._pause = 0
        if self._complaint:
            self._complaint = ""
            logger.info(
                "schedule file %s can be used again",
                self.path,
                extra={"event": "schedule.file_usable", "path": self.path},
            )

    def refuse(self, error: TaskqError) -> None:
        """Say that what was read could not be loaded; it is read again, ever more seldom, because what is in the way may go."""
        self._digest = ""
        self._read_again = True
        self._looks_left = self._pause
        self._pause = min(2 * self._pause or 1, _MOST_LOOKS)
        self._complain(error)

    def _complain(self, error: TaskqError) -> None:
        if self._complaint == str(error):
            return
        self._complaint = str(error)
        logger.error(
            "%s; the schedules that ran before go on unchanged",
            error,
            extra={
                "event": "schedule.load_failed",
                "path": self.path,
                "problems": getattr(error, "problems", [str(error)]),
            },
        )


def offers_of_code(
    schedules: Iterable[tuple[str, ScheduleEntry]],
    modules: Sequence[str],
    namespace: str | None = None,
) -> list[Offer]:
    """Return what the tasks of modules offer: those that were given a `cron`.

    Args:
        schedules: For each its function's module and the entry.
        modules: What the command line names, `MODULE` or `MODULE:APP`. A task is of the one that its function stands in, else of
            the one that it stands below, else of the first, which has imported it.
        namespace: None takes the module's name.
    """
    names = [text.partition(":")[0] for text in modules] or [""]
    by_module: dict[str, list[ScheduleEntry]] = {}
    for module, entry in schedules:
        above = [name for name in names if module == name or module.startswith(f"{name}.")]
        of = max(above, key=len, default=names[0]) or module
        by_module.setdefault(of, []).append(entry)
    return [
        Offer(
            check_namespace(namespace or module),
            f"code:{module}",
            f"module {module}",
            hashlib.sha256(jsoncodec.dumps([entry.to_json() for entry in entries])).hexdigest(),
            entries,
        )
        for module, entries in sorted(by_module.items())
    ]
