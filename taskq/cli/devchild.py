"""The program of a child of `taskq dev`: a taskq command that is asked to stop when dev is gone, however dev ended.

`python -m taskq.cli.devchild FD COMMAND …`: FD is the end of a pipe whose other end dev holds, and writes nothing to.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from taskq.worker.pools.inheritance import allow


def stop_with(lifeline: int) -> None:
    """Ask this process to stop when the pipe ends. Returns at once."""
    os.set_inheritable(lifeline, False)  # programs of tasks are none of dev's children
    thread = threading.Thread(target=_wait, args=(lifeline,), name="taskq-lifeline", daemon=True)
    allow(thread)  # it sits in a read
    thread.start()


def _wait(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from taskq.cli.main import (
        main,
    )  # the processes of a pool import this file too, and need no command line

    stop_with(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
