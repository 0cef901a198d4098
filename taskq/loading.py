"""From `-A MODULE[:APP]` to an app: imports the user's modules and finds the app they mean."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from taskq.app import App, default_app
from taskq.errors import AppNotFound, DuplicateTask, PublishFailed, TaskqError
from taskq.near import nearest

_PROGRAM_ONLY = 'put that under `if __name__ == "__main__":`'
"""Each worker imports the module, and would send it again."""


def load_app(modules: Sequence[str], directory: str = "") -> App:
    """Import modules and return the one app they belong to. Runs the modules' code.

    The working directory and the configuration file's are importable. Without `:APP` a module means its one `App`, else the
    default app; without any module it is the default app.

    Args:
        modules: `MODULE` or `MODULE:APP` each.
        directory: Directory of the configuration file; empty if there is none.

    Raises:
        AppNotFound: A module cannot be imported, sends tasks meanwhile, has no such app, or they mean different apps.
        DuplicateTask: Two tasks have one name.
    """
    _make_importable(directory)
    found: dict[int, tuple[str, App]] = {}
    for text in modules:
        app = _find(text)
        if app.is_connected:
            raise AppNotFound(text, f"it sends a task while it is imported; {_PROGRAM_ONLY}")
        found.setdefault(id(app), (text, app))
    if len(found) > 1 and not len(default_app.registry):
        found.pop(
            id(default_app), None
        )  # modules without app and tasks only do their work when they are imported
    if len(found) > 1:
        (first, _), (second, _), *_ = found.values()
        raise AppNotFound(second, f"it has another app than {first!r}; a process runs one")
    return next(iter(found.values()))[1] if found else default_app


def _make_importable(directory: str) -> None:
    for path in (directory, str(Path.cwd())):
        if path and path not in sys.path:
            sys.path.insert(0, path)


def _find(text: str) -> App:
    name, _, attribute = text.partition(":")
    module = _imported(name, text)
    if attribute:
        app = getattr(module, attribute, None)
        if not isinstance(app, App):
            near = nearest(attribute, _apps(module))
            hint = f"; did you mean {name}:{near}?" if near else ""
            raise AppNotFound(text, f"module {name!r} has no App named {attribute!r}{hint}")
        return app
    apps = _apps(module)
    distinct = {id(app): app for app in apps.values()}
    if len(distinct) > 1:
        names = ", ".join(f"{name}:{attribute}" for attribute in sorted(apps))
        raise AppNotFound(text, f"it has several apps; name one of {names}")
    return next(iter(distinct.values()), default_app)


def _apps(module: ModuleType) -> dict[str, App]:
    return {name: value for name, value in vars(module).items() if isinstance(value, App)}


def _imported(name: str, text: str) -> ModuleType:
    is_file = name.endswith(".py") and Path(name).is_file()
    if is_file or not all(part.isidentifier() for part in name.split(".")):
        raise AppNotFound(text, f"{name!r} is no module's name{_module_hint(text)}")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            where = f"looked in {Path.cwd()} and Python's path"
            hint = _near_module(error.name, name[len(error.name) :])
            raise AppNotFound(text, f"there is no module {error.name!r} ({where}){hint}") from error
        raise AppNotFound(text, _import_error(error)) from error
    except DuplicateTask:
        raise  # it names both places
    except PublishFailed as error:
        why = f"it sends a task while it is imported{_place(error)}; {_PROGRAM_ONLY} ({error})"
        raise AppNotFound(text, why) from error
    except TaskqError as error:
        raise AppNotFound(text, f"{error}{_place(error)}") from error
    except (Exception, SystemExit) as error:  # the user's code runs here
        raise AppNotFound(text, _import_error(error)) from error


def _near_module(missing: str, rest: str) -> str:
    """Return the hint at a module that lies beside the one that is missing: in its package, or in the working directory."""
    parent, _, name = missing.rpartition(".")
    places = getattr(sys.modules.get(parent), "__path__", ()) if parent else [str(Path.cwd())]
    near = nearest(name, (each.name for each in iter_modules(places)))
    return f"; did you mean {f'{parent}.' if parent else ''}{near}{rest}?" if near else ""


def _module_hint(text: str) -> str:
    """Return what to write in place of a file's name."""
    name, colon, attribute = text.partition(":")
    if not name.endswith(".py"):
        return ""
    parts = Path(name).with_suffix("").parts
    if Path(name).is_file() and all(part.isidentifier() for part in parts):
        return f"; write -A {'.'.join(parts)}{colon}{attribute}"
    return "; give a module's name, not a file's"


def _import_error(error: BaseException) -> str:
    """Return type, text and place of an error that a module raised while it was imported."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    line = traceback.format_exception_only(type(error), error)[-1].strip()
    return f"{line}{_place(error)}"


def _place(error: BaseException) -> str:
    """Return ` (FILE:LINE)` of the user's own code that an error came from, not of the library that it called."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen importlib") and frame.filename != __file__
    ]
    own = [frame for frame in frames if _is_own(frame.filename)] or frames
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


def _is_own(filename: str) -> bool:
    libraries = {
        str(Path(os.__file__).parent),
        str(Path(__file__).parent),
        *(path for path in sys.path if "site-packages" in path),
    }
    return not any(filename.startswith(path + os.sep) for path in libraries)
