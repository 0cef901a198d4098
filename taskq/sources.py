"""Where settings come from: flags, environment, a file.

The only reader of variables, at the entry point and never at import.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from taskq.errors import InvalidSetting
from taskq.near import nearest
from taskq.settings import SETTINGS, Layer, Settings, resolve

logger = logging.getLogger(__name__)

PREFIX = "TASKQ_"
_KAFKA_PREFIX = "TASKQ_KAFKA_"
_CONFIG = "TASKQ_CONFIG"
_INJECTED = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)\Z")
"""What Kubernetes gives every container for each service; one called `taskq-kafka` would set options of librdkafka."""

_FILE = "taskq.toml"
_PROJECT_FILE = "pyproject.toml"


@dataclass(frozen=True)
class Sources:
    """What stands outside the code, strongest first."""

    layers: tuple[Layer, ...] = ()
    directory: str = ""
    """Directory of the configuration file; empty if there is none."""

    def with_flags(self, flags: Mapping[str, Any]) -> Sources:
        """Return these sources behind flags; a flag that is None was not given."""
        given = {name: value for name, value in flags.items() if value is not None}
        if not given:
            return self
        return replace(self, layers=(Layer("flag", given), *self.layers))

    def settings(self, code: Mapping[str, object]) -> Settings:
        """Resolve them over what `App(...)` and `configure(...)` gave."""
        layers = (*self.layers, Layer("code", code)) if code else self.layers
        return resolve(layers, directory=self.directory)


def read_sources(
    *,
    config: str | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Sources:
    """Read environment and file. Blocks for the file system only.

    Args:
        config: The file named by `--config`; None looks at `TASKQ_CONFIG`, then for `taskq.toml`, then for `[tool.taskq]` in
            `pyproject.toml`.
        environ: Default: the process's environment.
        directory: Where files are looked for. Default: the working directory.

    Raises:
        InvalidSetting: The file is missing or is not TOML.
    """
    environ = os.environ if environ is None else environ
    directory = Path.cwd() if directory is None else directory
    layers = [_environment(environ)]
    path, table = _file(config, environ.get(_CONFIG), directory)
    if path is None:
        return Sources(tuple(layers))
    layers.append(Layer(f"file {path}", _relative_paths(table, path.parent)))
    return Sources(tuple(layers), str(path.parent))


def environment() -> dict[str, str]:
    """Return a copy of the process's variables, for processes that are started and for what is no setting of taskq's."""
    return dict(os.environ)


def _environment(environ: Mapping[str, str]) -> Layer:
    values: dict[str, object] = {}
    kafka: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == _CONFIG:
            continue
        name = variable[len(PREFIX) :].lower()
        if _INJECTED.search(variable):
            _warn_unknown(variable, name)
        elif variable.startswith(_KAFKA_PREFIX):
            kafka[variable[len(_KAFKA_PREFIX) :].lower().replace("_", ".")] = environ[variable]
        elif name in SETTINGS and name != "kafka":
            values[name] = environ[variable]
        else:
            _warn_unknown(variable, name)
    if kafka:
        values["kafka"] = kafka
    return Layer("environment", values)


def _warn_unknown(variable: str, name: str) -> None:
    # Not an error: clusters inject variables for services, and one called "taskq" gives TASKQ_SERVICE_HOST.
    near = nearest(name, SETTINGS)
    hint = f"; did you mean {PREFIX}{near.upper()}?" if near else ""
    logger.warning(
        "unknown setting in the environment, ignored: %s%s",
        variable,
        hint,
        extra={"event": "settings.unknown_variable", "variable": variable},
    )


def _file(
    flag: str | None, variable: str | None, directory: Path
) -> tuple[Path | None, Mapping[str, Any]]:
    """Return the configuration file and its table, if there is one."""
    named = flag or variable
    if named:
        path = directory / Path(named).expanduser()
        if not path.is_file():
            source = "flag --config" if flag else f"environment {_CONFIG}"
            raise InvalidSetting("config", named, "there is no such file", source=source)
        table = _read(path)
        return path, _project_table(table, path) if path.name == _PROJECT_FILE else _top(
            table, path
        )
    path = directory / _FILE
    if path.is_file():
        return path, _top(_read(path), path)
    path = directory / _PROJECT_FILE
    if path.is_file():
        table = _read(path)
        if "taskq" in table.get("tool", {}):
            return path, _project_table(table, path)
    return None, {}


def _read(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSetting("config", str(path), error.strerror or str(error)) from error
    except ValueError as error:  # also UnicodeDecodeError and TOMLDecodeError
        raise InvalidSetting("config", str(path), f"not TOML: {error}") from error


def _top(table: dict[str, Any], path: Path) -> Mapping[str, Any]:
    """Return the table of a file of ours, whose settings stand in none."""
    for name in ("taskq", "tool"):
        if isinstance(table.get(name), Mapping):
            header = "[tool.taskq]" if name == "tool" else "[taskq]"
            raise InvalidSetting(
                "config",
                str(path),
                f"its settings stand at the top, in no table; leave {header} out",
            )
    return table


def _project_table(table: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    tool = table.get("tool", {}).get("taskq", {})
    if not isinstance(tool, Mapping):
        raise InvalidSetting("config", str(path), "[tool.taskq] is not a table")
    return tool


def _relative_paths(table: Mapping[str, Any], directory: Path) -> Mapping[str, object]:
    """Make paths in a file relative to it, as a reader of the file expects."""
    if "schedule" not in table:
        return table
    schedule = SETTINGS["schedule"]
    try:
        files = schedule.parse(table["schedule"])
    except ValueError:
        return table  # resolve() says what is wrong, with the source
    return {**table, "schedule": [str(directory / Path(file).expanduser()) for file in files]}
