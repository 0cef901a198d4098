"""Commands of `taskq` as processes that end by themselves: what they print, where, and their exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.support.processes import environment
from tests.support.station import PATIENCE


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document that was printed."""
        return json.loads(self.out)


class Place(Protocol):
    """Where commands run, such as a `Station`."""

    @property
    def folder(self) -> Path:
        """Their working directory."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that they need."""


@dataclass(frozen=True)
class Taskq:
    """Runs commands in the test's own folder."""

    place: Place

    def __call__(self, *arguments: str, **variables: str) -> Done:
        """Run a command to its end, with further variables."""
        done = subprocess.run(
            [sys.executable, "-m", "taskq", *arguments],
            cwd=self.place.folder,
            env=environment({**self.place.environment, **variables}),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return Done(done.returncode, done.stdout, done.stderr)
