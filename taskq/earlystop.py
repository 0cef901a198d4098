"""Ctrl-C while the command `taskq` is imported, which takes tenths of a second: it ends without a word, and with 130.

`except KeyboardInterrupt` around the imports would not do: raised in a call-back of the import system itself, the exception is
printed, and is lost. Imports nothing of taskq, because the package imports it first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import PurePath
from types import FrameType

INTERRUPTED = 130
"""As in exitcodes.py, which is imported later."""


def is_command(arguments: Sequence[str], interpreter: Sequence[str]) -> bool:
    """Return whether this process is the command, and no program that uses the package.

    Args:
        arguments: `sys.argv`; until the module of `-m` runs, `-m` stands for it.
        interpreter: `sys.orig_argv`.
    """
    program = arguments[0] if arguments else ""
    if program == "-m":
        options = " ".join(interpreter).replace("-mtaskq", "-m taskq").split()
        return options[options.index("-m") + 1 :][:1] == ["taskq"]
    path = PurePath(program)
    return path.name in ("taskq", "taskq.exe") or path.parts[-2:] == ("taskq", "__main__.py")


def begin() -> None:
    """From here on Ctrl-C ends the process, if it is the command; a Ctrl-C that is ignored, as in `nohup`, stays so."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual and is_command(sys.argv, sys.orig_argv):
        with contextlib.suppress(
            ValueError
        ):  # another thread than the main one imports the package
            signal.signal(signal.SIGINT, _leave)


def end() -> None:
    """From here on it raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)  # nothing was written yet, and nobody waits
