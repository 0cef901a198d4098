"""One process that `taskq dev` started, with all that it starts itself.

It is the first of a session of its own: the terminal's Ctrl-C does not reach it, so that dev can end its processes in order, and
whatever it leaves behind can be found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from taskq.dev.lines import LineBuffer
from taskq.dev.terminal import ERR, OUT

_CHUNK = 65536

Line = tuple[int, bytes]
"""A line, and the stream that it was printed to."""


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """What is to be started, and how it is ended."""

    name: str
    """Stands before its lines."""

    command: Sequence[str]
    environ: Mapping[str, str]
    patience: float
    """Seconds that it has to end when it is asked to."""

    lifeline: int | None = None
    """A file descriptor that it gets."""

    reads_terminal: bool = False
    ends_as_group: bool = False
    """Whether all of its processes are asked to end, not only the first: a shell does not pass a signal on."""

    at_once: signal.Signals = signal.SIGKILL
    """What ends it at once; a worker names what is lost before it does."""


class Child:
    """A started process. One thread."""

    def __init__(self, plan: ChildPlan) -> None:
        """Start it.

        Raises:
            OSError: It cannot be started.
        """
        self.plan = plan
        self._process = subprocess.Popen(
            list(plan.command),
            stdin=None if plan.reads_terminal else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=dict(plan.environ),
            pass_fds=() if plan.lifeline is None else (plan.lifeline,),
            start_new_session=True,
        )
        out, err = self._process.stdout, self._process.stderr
        assert out is not None
        assert err is not None
        self._streams = {out.fileno(): (OUT, LineBuffer()), err.fileno(): (ERR, LineBuffer())}
        for pipe in self._streams:
            os.set_blocking(pipe, False)
        self._is_gone = False

    @property
    def name(self) -> str:
        """What stands before its lines."""
        return self.plan.name

    @property
    def pipes(self) -> Sequence[int]:
        """The file descriptors by which it is heard; those that have come to their end are missing."""
        return list(self._streams)

    @property
    def has_ended(self) -> bool:
        """Whether the process itself has ended; others that it started may live."""
        return self._process.poll() is not None

    @property
    def is_gone(self) -> bool:
        """Whether none of its processes lives."""
        self._is_gone = self._is_gone or (self.has_ended and not self._signal_all(0))
        return self._is_gone

    @property
    def ended_well(self) -> bool:
        """Whether it did as it was asked; one in which Python was still starting ends by the signal itself."""
        return self._process.poll() in (0, -signal.SIGTERM)

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self._process.poll()
        if code is None:
            return "runs"
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"

    def read(self, pipe: int) -> list[Line]:
        """Return the lines that have come through a pipe; does not block."""
        return list(self._read_some(pipe))

    def read_rest(self) -> list[Line]:
        """Return the lines that it printed and that were not read yet, for when it has ended; does not block."""
        lines: list[Line] = []
        for pipe in self.pipes:
            while more := self.read(pipe):
                lines += more
        return lines

    def _read_some(self, pipe: int) -> Iterator[Line]:
        stream, buffer = self._streams[pipe]
        with contextlib.suppress(BlockingIOError):
            data = os.read(pipe, _CHUNK)
            if not data:
                del self._streams[pipe]
            for line in buffer.feed(data) if data else buffer.flush():
                yield stream, line

    def ask(self) -> None:
        """Ask it to end."""
        if self.plan.ends_as_group:
            self._signal_all(signal.SIGTERM)
        else:
            self._process.terminate()  # nothing, if it has ended

    def end_now(self) -> None:
        """Have it end at once."""
        self._process.send_signal(self.plan.at_once)  # nothing, if it has ended

    def kill(self) -> None:
        """Kill all of its processes."""
        self._signal_all(signal.SIGKILL)

    def close(self) -> None:
        """Kill what is left, wait for the process, and close its pipes."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _signal_all(self, number: int) -> bool:
        """Send a signal to each process of its group; return whether there was one."""
        if self._is_gone:  # the number may be somebody else's by now
            return False
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS has the second for a group of zombies
            return False
        return True
