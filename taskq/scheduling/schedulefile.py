"""Reading a schedule file.

The file holds a JSON list in UTF-8; what its entries may hold is in `schedule`. All that is wrong is found at once.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from taskq.errors import ScheduleFileError
from taskq.scheduling.schedule import ScheduleEntry, read_entries

MAX_BYTES = 64 * 2**20
"""Bytes: room for 100,000 entries of half a kilobyte; a larger file is a mistake, and would fill the memory."""

_MAX_PROBLEMS = 50  # lines; more are counted only

Signature = tuple[int, ...]
"""What changes when a file's content does, without reading it."""


@dataclass(frozen=True, slots=True)
class ScheduleFile:
    """The content of a schedule file, checked."""

    path: str
    digest: str
    """SHA-256 of its bytes, in hexadecimal."""

    entries: tuple[ScheduleEntry, ...]


def signature_of(path: str) -> Signature | None:
    """Return what tells whether a file may have changed, or None where there is none that can be read."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_ino,
        status.st_dev,
    )


def read_schedule_file(path: str) -> ScheduleFile:
    """Read and check a schedule file. Blocks for the disk.

    Raises:
        ScheduleFileError: It is missing, cannot be read, is not JSON, or has wrong entries; nothing of it may be used.
    """
    content = _read_bytes(path)
    document = _decode(path, content)
    entries, problems = read_entries(document)
    lines = [*map(str, problems), *_doubled_keys(document)]
    if lines:
        left = len(lines) - _MAX_PROBLEMS
        more = [f"and {left} more problems"] if left > 0 else []
        raise ScheduleFileError(path, lines[:_MAX_PROBLEMS] + more)
    return ScheduleFile(path, hashlib.sha256(content).hexdigest(), tuple(entries))


def _fail(path: str, problem: str) -> NoReturn:
    raise ScheduleFileError(path, [problem]) from None


def _read_bytes(path: str) -> bytes:
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):  # reading a pipe could block for ever
            _fail(path, "is a directory" if stat.S_ISDIR(mode) else "is not a plain file")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        _fail(path, "there is no such file")
    except (OSError, ValueError) as error:
        _fail(path, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(content) > MAX_BYTES:
        _fail(path, f"is larger than {MAX_BYTES // 2**20} MiB")
    return content


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys stood twice."""

    __slots__ = ("doubled",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.doubled = (
            [] if len(self) == len(names) else sorted({n for n in names if names.count(n) > 1})
        )


def _decode(path: str, content: bytes) -> Any:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        _fail(path, f"is not UTF-8: line {line} has the byte 0x{content[error.start]:02x}")
    if not text.strip():
        _fail(path, "is empty; a list of entries is needed, at least []")
    try:
        return json.loads(text, object_pairs_hook=_Object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        _fail(path, f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}")
    except RecursionError:
        _fail(path, "is nested too deeply")
    except ValueError as error:  # a constant, or a number of more digits than Python reads
        _fail(path, f"is not JSON that can be read: {error}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no number {name}")


def _doubled_keys(document: object) -> Iterator[str]:
    if not isinstance(document, list):
        return
    for number, entry in enumerate(document, 1):
        for key in _doubled_within(entry):
            yield f"entry {number}: {key!r}: the key stands twice in one object"


def _doubled_within(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _Object):
            yield from item.doubled
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
