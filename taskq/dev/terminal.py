"""What `taskq dev` prints: each line behind the name of who said it, in colour where a person reads."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping

OUT, ERR = 1, 2
"""File descriptors: what a process prints stays on the stream that it chose."""

_WIDTH = 6  # of `worker`, the longest name
_COLOURS = {"worker": "36", "beat": "35", "run": "33", "dev": "32"}


class Terminal:
    """Writes lines to both streams, unbuffered. One thread. A stream that nobody reads any more is left alone."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Look at the streams.

        Args:
            environ: The variables; `NO_COLOR` with any text (no-color.org) and `TERM=dumb` keep colours away.
        """
        refused = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self._coloured = {stream: not refused and os.isatty(stream) for stream in (OUT, ERR)}
        self._gone: set[int] = set()

    def say(self, text: str) -> None:
        """Print a line of dev's own."""
        self.line(ERR, "dev", text.encode(errors="replace"))

    def line(self, stream: int, name: str, line: bytes) -> None:
        """Print a line of a process."""
        prefix = f"{name:{_WIDTH}} |"
        if self._coloured[stream]:
            prefix = f"\x1b[{_COLOURS[name]}m{prefix}\x1b[0m"
        self.write(stream, prefix.encode() + b" " + line + b"\n")

    def write(self, stream: int, data: bytes) -> None:
        """Write bytes as they are; blocks while the reader is slow."""
        if stream in self._gone:
            return
        try:
            while data:
                data = data[self._write_some(stream, data) :]
        except (
            OSError
        ):  # the reader of a pipe, or the terminal, has gone; the work goes on without it
            self._gone.add(stream)

    @staticmethod
    def _write_some(stream: int, data: bytes) -> int:
        try:
            return os.write(stream, data)
        except BlockingIOError:  # another program has made the terminal non-blocking
            select.select([], [stream], [])
            return 0
