"""Where a process ends that a task has forked and that comes out of the task's function.

It is a copy of the process that runs tasks: were it to go on, it would report the task a second time, and take others from the
connections that it inherited. So it ends there, as a program ends at the end of its file.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

_CODE_MASK = 0xFF  # of an exit code the system keeps eight bits


def end_if_forked(pid: int, error: BaseException | None = None) -> None:
    """Never return in another process than the one that called the function; in that one do nothing.

    What the interpreter would do at its end is left out (`atexit`, destructors): it is the forking process's.

    Args:
        pid: The process that called the function.
        error: What came out of it; None if it returned.
    """
    if os.getpid() == pid:
        return
    code = 1
    try:
        code = _exit_code(error)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # a task may have replaced or closed it
                stream.flush()
    finally:
        os._exit(code)


def _exit_code(error: BaseException | None) -> int:
    """Return the code that the interpreter would end with, and print what it would print."""
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        return 1
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & _CODE_MASK
    print(error.code, file=sys.stderr)
    return 1
