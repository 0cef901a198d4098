"""The process's standard streams where they are closed, full, or have no reader any more."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import TextIO

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def fill_closed_streams() -> None:
    """Open the null device in place of standard streams that are closed (`>&-`): what is written to them is not wanted.

    Otherwise the next socket would get the number of stdout, and Python has None for the stream.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            break
        os.set_inheritable(descriptor, True)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for the process's life
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # as above


def is_full(error: OSError) -> bool:
    """Return whether an error of a write says that the output cannot take it; commands write to no file of their own."""
    return error.filename is None and error.errno in _FULL


def discard(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere: the interpreter flushes it once more at its end."""
    with contextlib.suppress(OSError):  # one that has no descriptor, in tests
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


def flush_or_discard(discard: Callable[[TextIO], None] = discard) -> None:
    """Flush what tasks have printed; what cannot be written is no reason to end in another way, or not to go on.

    Args:
        discard: What is done with a stream that cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard(stream)
        except (AttributeError, ValueError):  # a task has put nothing in its place, or closed it
            continue


def empty(stream: TextIO) -> None:
    """Drop what a stream still holds, and leave the stream as it is: its disk may have room later."""
    with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as at_the_end:
        number = stream.fileno()
        kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
        at_the_end.callback(os.close, kept)
        at_the_end.callback(os.close, nowhere)
        at_the_end.callback(os.dup2, kept, number)
        os.dup2(nowhere, number)
        stream.flush()
