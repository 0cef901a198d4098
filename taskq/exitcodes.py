"""The exit codes of all commands: what a script or an orchestrator goes by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FINE, FAILED, USAGE, UNREACHABLE, SIGNALLED, INTERRUPTED = 0, 1, 2, 3, 128, 130

EXIT_CODES: Mapping[int, str] = MappingProxyType(
    {
        FINE: "All is well; a worker: all that it had taken has finished.",
        FAILED: "It did not work, or there is no such id; a worker: tasks were given up or lost.",
        USAGE: "Something the user gave is wrong: an option, a setting, a module, a schedule file.",
        UNREACHABLE: "No broker can be reached; worker and beat: at their start.",
        SIGNALLED: "Plus the signal's number: a second signal, or SIGQUIT, ended it at once.",
        INTERRUPTED: "Ctrl-C ended it; worker, beat and dev handle that.",
    }
)
