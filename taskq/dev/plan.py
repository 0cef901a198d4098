"""What `taskq dev` starts: command lines, variables, patience of its processes. Reads schedule files, and runs nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taskq.dev.child import ChildPlan
from taskq.errors import UsageError
from taskq.scheduling.schedulefile import read_schedule_file
from taskq.settings import Settings

WORKER, BEAT, RUN = "worker", "beat", "run"
"""Names of the processes."""

_MARGIN = 10.0
"""Seconds over what a process promises itself for its end: its group, its pool, its interpreter."""

_COMMAND_PATIENCE = 10.0
"""Seconds, as `docker stop` has it."""


@dataclass(frozen=True, slots=True)
class DevPlan:
    """What the user asked for, checked."""

    common: tuple[str, ...]
    """Options of worker and beat."""

    worker: tuple[str, ...]
    """Options of the worker."""

    beat: tuple[str, ...]
    """Options of beat."""

    schedule: tuple[str, ...]
    """Schedule files."""

    has_code_schedules: bool
    """Whether tasks had a `cron` when dev was started."""

    reloads: bool
    """Whether tasks may get one while it runs: then beat starts each time, and ends at once where it has nothing to send."""

    takes_schedule_queues: bool
    command: tuple[str, ...]
    environ: Mapping[str, str]
    settings: Settings

    def worker_plan(self, lifeline: int, queues: Sequence[str]) -> ChildPlan:
        """Return the worker.

        Args:
            lifeline: A pipe's end, see cli/devchild.py.
            queues: What it takes besides its tasks' queues.
        """
        also = ("--also-queues", ",".join(queues)) if queues else ()
        return ChildPlan(
            WORKER,
            _taskq(lifeline, "worker", *self.common, *self.worker, *also),
            self.environ,
            patience=self.settings.grace + _MARGIN,
            lifeline=lifeline,
            at_once=signal.SIGQUIT,
        )

    def beat_plan(self, lifeline: int) -> ChildPlan | None:
        """Return beat, if it has something to do, or may have."""
        if not (self.schedule or self.has_code_schedules or self.reloads):
            return None
        if_any = ("--if-any",) if self.reloads else ()
        files = [word for file in self.schedule for word in ("--schedule", file)]
        return ChildPlan(
            BEAT,
            _taskq(lifeline, "beat", *self.common, *self.beat, *if_any, *files),
            self.environ,
            patience=self.settings.publish_timeout + _MARGIN,
            lifeline=lifeline,
        )

    def command_plan(self) -> ChildPlan | None:
        """Return the user's command, if there is one."""
        if not self.command:
            return None
        return ChildPlan(
            RUN,
            self.command,
            {**self.environ, "PATH": _search_path(self.environ)},
            patience=_COMMAND_PATIENCE,
            reads_terminal=True,
            ends_as_group=True,
        )

    def schedule_queues(self) -> tuple[str, ...]:
        """Return the queues that entries of the schedule files name, if the worker is to take them. Blocks for the disk.

        Raises:
            ScheduleFileError: A file cannot be used.
        """
        if not self.takes_schedule_queues:
            return ()
        entries = (entry for file in self.schedule for entry in read_schedule_file(file).entries)
        return tuple(sorted({entry.queue for entry in entries if entry.queue}))

    @property
    def shown_command(self) -> str:
        """The user's command as one line."""
        return shlex.join(self.command)


def broker_variables(settings: Settings, *, broker: str, is_embedded: bool) -> dict[str, str]:
    """Return the variables with which any taskq process uses the broker; they win over files and code.

    Args:
        settings: What holds without them.
        broker: The address.
        is_embedded: Whether it is our own, which knows neither TLS nor a login.
    """
    variables = {"TASKQ_BROKER": broker}
    if is_embedded and "security.protocol" in settings.kafka:
        variables["TASKQ_KAFKA_SECURITY_PROTOCOL"] = "plaintext"
    return variables


def child_environ(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return all variables of the processes; what their tasks print is to be seen at once."""
    return {**environ, **variables, "PYTHONUNBUFFERED": "1"}


def export_line(variables: Mapping[str, str]) -> str:
    """Return the line that sets variables in a shell."""
    return f"export {' '.join(f'{name}={shlex.quote(text)}' for name, text in variables.items())}"


def check_command(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Raise if the user's command cannot be there.

    Raises:
        UsageError: No such program is found.
    """
    if command and shutil.which(command[0], path=_search_path(environ)) is None:
        raise UsageError(
            f"there is no program {command[0]!r} to run; a module with tasks is given as -A MODULE, a program after --"
        )


def _taskq(lifeline: int, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "taskq.cli.devchild", str(lifeline), *arguments)


def _search_path(environ: Mapping[str, str]) -> str:
    """Return PATH with this environment's own programs first: `.venv/bin/taskq dev -- python send.py` means that Python."""
    path = environ.get("PATH", os.defpath)
    if sys.prefix == sys.base_prefix:
        return path
    return os.pathsep.join((str(Path(sys.executable).parent), path))
