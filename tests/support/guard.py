"""No process outlives the tests that started it, however they end.

A small process of its own reads from a pipe which process groups are alive; when the pipe ends, because the tests ended, crashed or
were killed, it kills what is left. (`PR_SET_PDEATHSIG` would do it without a process, but only on Linux, and it fires when the
thread that started the child ends.) This file is also that process's program, so it imports nothing of ours.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import subprocess
import sys
import threading


class Guard:
    """The tests' end of the pipe. Any thread may call it."""

    def __init__(self) -> None:
        """Start the guarding process; it ends with this one."""
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__], stdin=subprocess.PIPE, start_new_session=True
        )
        self._owner = os.getpid()
        atexit.register(self._close)

    def watch(self, group: int) -> None:
        """Have a process group (its id is its first process's) killed when this process ends."""
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        """Forget a group that is gone; its number may soon be somebody else's."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with self._lock:
            pipe.write(line.encode())
            pipe.flush()

    def _close(self) -> None:
        if os.getpid() == self._owner and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()


@functools.cache
def guard() -> Guard:
    """Return this process's guard, starting it when it is first asked for."""
    return Guard()


def main() -> None:
    """Run the guarding process: read groups until the pipe ends, then kill those that are left."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        number = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(number)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            continue


if __name__ == "__main__":
    main()
