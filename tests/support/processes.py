"""Processes that a test starts, watches, freezes and kills: workers, beats, small scripts.

Each is the leader of a group of its own, so that its children (and theirs) can be found and ended with it, also after it
has died itself. Output goes to a file: a pipe that nobody reads would stop the process.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from taskq.worker.signals import ECHO_SECONDS
from tests.support.guard import guard
from tests.support.waiting import Deadline, wait_until

ROOT = Path(__file__).parents[2]
"""The repository; children find `taskq`, `taskq_kafka` and `tests` there."""


class Process:
    """One process and its descendants. One thread at a time may call it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        output: Path,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start it at once.

        Args:
            command: Program and arguments.
            output: Where both of its outputs go.
            cwd: Its working directory; by default `output`'s folder.
            env: Variables over the test's own; those of `TASKQ_...` in the test's own are not passed on.
        """
        self.command = list(command)
        self.output = output
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=cwd or output.parent,
                env=environment(env or {}),
                start_new_session=True,
            )
        self.pid = self._process.pid
        guard().watch(self.pid)

    @property
    def is_running(self) -> bool:
        """Whether the process itself lives, perhaps frozen."""
        return self._process.poll() is None

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors="replace")

    def wait_for_line(
        self, pattern: str, *, timeout: float = 60.0, after: int = 0
    ) -> re.Match[str]:
        """Block until a whole line of its output contains a regular expression; return the first match.

        Args:
            pattern: A regular expression.
            timeout: Seconds.
            after: How much of `text` to leave out (its `len` at an earlier moment).

        Raises:
            TimeoutError: No such line came in time, or the process ended without it; the text has what it printed.
        """
        expression = re.compile(pattern)

        def look() -> re.Match[str] | bool:
            ended = not self.is_running  # before reading, so that its last words are not missed
            for line in self.text[after:].split("\n")[:-1]:
                if match := expression.search(line):
                    return match
            return ended

        try:
            found = wait_until(look, timeout=timeout, what=f"a line with {pattern!r}")
        except TimeoutError as error:
            raise TimeoutError(f"{error} from {self}; it printed:\n{self.text[-4000:]}") from error
        if isinstance(found, bool):
            code = self._process.returncode
            raise TimeoutError(
                f"{self} ended with {code} without a line with {pattern!r}; it printed:\n{self.text[-4000:]}"
            )
        return found

    def wait(self, *, timeout: float = 30.0) -> int:
        """Block until it ends; return its exit code (negative: the signal that ended it).

        Raises:
            TimeoutError: It still ran after `timeout` seconds.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(
                f"{self} still ran after {timeout:g} s; it printed:\n{self.text[-4000:]}"
            ) from error

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        self._process.send_signal(number)

    def signal_again(self, number: int) -> None:
        """Send a second signal when it is no echo of the first any more, which the process has said that it heard."""
        echo = Deadline(ECHO_SECONDS)
        wait_until(lambda: echo.is_over, timeout=2 * ECHO_SECONDS, what="the end of echoes")
        self.signal(number)

    def stop(self, *, timeout: float = 30.0) -> int:
        """Ask it to end (SIGTERM), wait until it has and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout=timeout)

    def kill(self) -> None:
        """Kill the process alone (SIGKILL): its children live on for as long as they choose."""
        self._process.kill()
        self._process.wait()

    def kill_all(self) -> None:
        """Kill the process and all its descendants, as the end of a container does. Frozen ones too."""
        self.freeze()  # so that none starts another one meanwhile
        send_signal(self.family(), signal.SIGKILL)
        self._process.wait()
        self.wait_gone()

    def freeze(self) -> None:
        """Stop the process and all its descendants (SIGSTOP)."""
        send_signal(self.family(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Let all of them go on (SIGCONT)."""
        send_signal(self.family(), signal.SIGCONT)

    def descendants(self) -> list[int]:
        """Return the pids of its living children and theirs, and of those that it left behind when it died."""
        return [pid for pid in self.family() if pid != self.pid]

    def family(self) -> list[int]:
        """Return the pids of the living among the process and its descendants; zombies do not live."""
        table = [entry for entry in process_table() if not entry.is_zombie]
        family = {
            entry.pid for entry in table if self.pid in (entry.pid, entry.group, entry.session)
        }
        while more := {e.pid for e in table if e.parent in family} - family:
            family |= more
        return sorted(family)

    def wait_gone(self, *, timeout: float = 60.0) -> None:
        """Block until neither it nor any descendant lives.

        Raises:
            TimeoutError: Some lived after `timeout` seconds.
        """
        wait_until(lambda: not self.family(), timeout=timeout, what=f"the end of all of {self}")

    def close(self) -> None:
        """Kill whatever is left of it."""
        if self.family():
            self.kill_all()
        self._process.wait()
        guard().release(self.pid)

    def __str__(self) -> str:
        """Tell it by its command and pid."""
        return f"`{' '.join(self.command)}` ({self.pid})"


class Processes:
    """Starts processes for one test and closes them all at its end."""

    def __init__(self, folder: Path) -> None:
        """Keep their output in `folder`, which is also their working directory unless they are given another."""
        self._folder = folder
        self.all: list[Process] = []
        """All that were started, in that order."""

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a command; see `Process`."""
        output = self._folder / f"process-{len(self.all) + 1}.log"
        process = Process(command, output=output, cwd=cwd or self._folder, env=env)
        self.all.append(process)
        return process

    def python(
        self, *arguments: str, cwd: Path | str | None = None, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start Python with the test's own interpreter and modules."""
        return self.start([sys.executable, "-u", *arguments], cwd=cwd, env=env)

    def taskq(
        self, *arguments: str, cwd: Path | str | None = None, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start `python -m taskq ...`."""
        return self.python("-m", "taskq", *arguments, cwd=cwd, env=env)

    def __enter__(self) -> Processes:
        """Nothing is started yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill what is left; the end of each output goes to standard output, which pytest shows after a failure."""
        for process in self.all:
            process.close()
            # Whether the test has failed is not known here: a fixture is told nothing of it.
            print(f"--- {process} printed:\n{process.text[-4000:]}")


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """A line of the system's table of processes."""

    pid: int
    parent: int
    group: int
    session: int
    is_zombie: bool
    is_asleep: bool
    """Whether it waits for something; a pool process that is done with all it had waits for more."""


def process_table() -> list[ProcessEntry]:
    """Return all processes of this machine, from `/proc`, or from `ps` where there is none."""
    proc = Path("/proc/self/stat")
    return list(_table_of_proc()) if proc.exists() else list(_table_of_ps())


def wait_asleep(pid: int, *, timeout: float = 10.0) -> None:
    """Wait until a process waits for something itself."""
    wait_until(
        lambda: any(entry.is_asleep for entry in process_table() if entry.pid == pid),
        timeout=timeout,
        what=f"process {pid} to fall asleep",
    )


def send_signal(pids: Iterable[int], number: int) -> None:
    """Send a signal to each that still lives."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _table_of_proc() -> Iterable[ProcessEntry]:
    for folder in os.listdir("/proc"):
        if not folder.isdigit():
            continue
        with contextlib.suppress(OSError):
            # proc(5): the name in brackets may hold anything; after it come state, ppid, pgrp, session
            fields = (
                Path("/proc", folder, "stat").read_text(errors="replace").rpartition(")")[2].split()
            )
            parent, group, session = map(int, fields[1:4])
            state = fields[0]
            yield ProcessEntry(int(folder), parent, group, session, state in "ZX", state == "S")


def _table_of_ps() -> Iterable[ProcessEntry]:
    command = ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="]
    for line in subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.splitlines():
        pid, parent, group, state = line.split()[:4]
        # macOS prints no session ids as numbers; the group serves, unless a child leaves it
        is_zombie, is_asleep = state.startswith("Z"), state[0] in "SI"
        yield ProcessEntry(int(pid), int(parent), int(group), int(group), is_zombie, is_asleep)


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the test's own environment with `more`, without settings that would leak into what is tested."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("TASKQ_")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**inherited, "PYTHONPATH": path, **more}
