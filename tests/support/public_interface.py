"""The public interface as text: what users' programs, scripts and alerts hold on to. The same on every version of Python.

`describe()` looks at the code; what it said last is in tests/data/public-interface.txt.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, Generic

import click

import taskq_pytest
from taskq.cli.main import cli
from taskq.cli.options import TaskqCommand, common_options
from taskq.events import EVENTS
from taskq.exitcodes import EXIT_CODES
from taskq.middleware import PUBLISH_HOOKS, RUN_HOOKS, WORKER_HOOKS
from taskq.sending.sendoptions import SEND_OPTIONS
from taskq.settings import SETTINGS
from taskq.task import TASK_OPTIONS

MODULES = (
    "taskq",
    "taskq.cron",
    "taskq.errors",
    "taskq.outcome",
    "taskq.testing",
    "taskq_kafka",
)

_LITERALS = (type(None), bool, int, float, str, bytes)


def describe() -> str:
    """Return all of it."""
    sections: list[tuple[str, Iterable[str]]] = [
        (f"module {name}", _module(import_module(name))) for name in MODULES
    ]
    sections += [
        ("options of @task and App.task", TASK_OPTIONS),
        ("options of apply_async, options and send_task", SEND_OPTIONS),
        ("fixtures of the pytest plugin", taskq_pytest.__all__),
        ("hooks of a middleware", (*PUBLISH_HOOKS, *RUN_HOOKS, *WORKER_HOOKS)),
        ("commands", _commands()),
        ("settings: name, type, default", _settings()),
        ("events", EVENTS),
        ("exit codes", (f"{code}  {meaning}" for code, meaning in EXIT_CODES.items())),
    ]
    texts = ["\n".join([f"[{title}]", *lines]) for title, lines in sections]
    return "\n\n".join(texts) + "\n"


# Python


def _module(module: ModuleType) -> Iterator[str]:
    for name in sorted(_exported(module)):
        value = inspect.getattr_static(module, name, None)
        home = getattr(value, "__module__", module.__name__)
        if isinstance(value, type) and home in MODULES and home != module.__name__:
            yield f"class {name}: see {home}"
        elif isinstance(value, type):
            yield from _class(name, value)
        elif inspect.isroutine(value):
            yield f"{name}{_signature(value)}"
        else:
            yield name if value is None else f"{name}: {type(value).__name__}"


def _exported(module: ModuleType) -> Iterable[str]:
    declared: Iterable[str] | None = getattr(module, "__all__", None)
    if declared is not None:
        return declared
    own = vars(module).items()
    return [name for name, value in own if not name.startswith("_") and _is_of(value, module)]


def _is_of(value: object, module: ModuleType) -> bool:
    if isinstance(value, (type, FunctionType)):
        return value.__module__ == module.__name__
    return False


def _class(name: str, cls: type) -> Iterator[str]:
    bases = [base.__name__ for base in cls.__bases__ if base not in (object, Generic)]
    derived = f" of {', '.join(bases)}" if bases else ""
    if cls.__module__ == "taskq.settings":
        yield f"class {name}: its fields are the settings"  # a section of their own
        return
    yield f"class {name}{_constructor(cls)}{derived}"
    members = {
        each: inspect.getattr_static(cls, each) for base in _ours(cls) for each in vars(base)
    }
    fields = {field.name for field in dataclasses.fields(cls)} if _is_data(cls) else set()
    for member in sorted({*members, *_attributes(cls)} - fields):
        if not member.startswith("_") or member == "__call__":
            yield f"    {member}{_member(members.get(member))}"


def _member(value: object) -> str:
    if isinstance(value, property):
        return f": {_annotation(value.fget, 'return')}"
    if isinstance(value, staticmethod):
        return _signature(value.__func__)
    if isinstance(value, classmethod):
        return _signature(value.__func__, skip=1)
    return _signature(value, skip=1) if inspect.isroutine(value) else ""


def _constructor(cls: type) -> str:
    if _is_data(cls):
        fields = [f for f in dataclasses.fields(cls) if f.init and not f.name.startswith("_")]
        return f"({', '.join(f'{field.name}: {field.type}' for field in fields)})"
    own = next((base for base in _ours(cls) if "__init__" in vars(base)), None)
    return "" if own is None else _signature(vars(own)["__init__"], skip=1).partition(" -> ")[0]


def _attributes(cls: type) -> set[str]:
    """Return the public attributes that the constructors give an object."""
    found = set()
    for base in _ours(cls):
        if "__init__" in vars(base) and not _is_data(base):
            tree = ast.parse(textwrap.dedent(inspect.getsource(vars(base)["__init__"])))
            found |= {
                node.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
                and not node.attr.startswith("_")
            }
    return found


def _is_data(cls: type) -> bool:
    return "__dataclass_fields__" in vars(cls)


def _ours(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base.__module__.partition(".")[0].startswith("taskq")]


def _annotation(function: object, name: str) -> str:
    # Every module of ours has its annotations as text.
    return str(getattr(function, "__annotations__", {}).get(name, "?"))


def _signature(function: Any, *, skip: int = 0) -> str:
    """Return a signature as it is written in the code; defaults that are no literals stand as `...`."""
    signature = inspect.signature(function)
    parts: list[str] = []
    kinds: list[Any] = []
    for parameter in list(signature.parameters.values())[skip:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not {
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        } & set(kinds):
            parts.append("*")
        parts.append(_parameter_text(parameter))
        kinds.append(parameter.kind)
    result = signature.return_annotation
    returned = "" if result is signature.empty else f" -> {result}"
    return f"({', '.join(parts)}){returned}"


def _parameter_text(parameter: inspect.Parameter) -> str:
    stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else stars
    text = f"{stars}{parameter.name}"
    if parameter.annotation is not parameter.empty:
        text += f": {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    value = parameter.default
    return f"{text} = {repr(value) if isinstance(value, _LITERALS) or value == () else '...'}"


# Commands, settings


def _commands() -> Iterator[str]:
    yield f"every command: {', '.join(map(_parameter, common_options(json=False)))}"
    yield "those that print data: --json"
    context = click.Context(cli, info_name="taskq")
    yield from _group(cli, context)


def _group(group: click.Group, context: click.Context) -> Iterator[str]:
    yield _command(group, context)
    names = {*group.list_commands(context), *getattr(group, "lazy", ())}
    for name in sorted(names):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _group(command, inner)
        else:
            yield _command(command, inner)


def _command(command: click.Command, context: click.Context) -> str:
    common = {parameter.name for parameter in common_options(json=True)}
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    own = [_parameter(each) for each in shown if each.name not in common]
    if isinstance(command, TaskqCommand) and command.data:
        own.append("--json")
    return " ".join([context.command_path, *own])


def _parameter(parameter: click.Parameter) -> str:
    context = click.Context(cli)
    if isinstance(parameter, click.Argument):
        name = parameter.make_metavar(context) if _wants_context(parameter) else ""
        return name or str(parameter.name).upper()
    assert isinstance(parameter, click.Option)
    names = "/".join((*parameter.opts, *parameter.secondary_opts))
    metavar = "" if parameter.is_flag else f" {parameter.metavar or str(parameter.name).upper()}"
    times = "…" if parameter.multiple else ""
    return f"[{names}{metavar}]{times}"


def _wants_context(parameter: click.Argument) -> bool:
    """Return whether make_metavar takes a context: since click 8.2."""
    return bool(inspect.signature(parameter.make_metavar).parameters)


def _settings() -> Iterator[str]:
    for setting in SETTINGS.values():
        yield f"{setting.name}  ({setting.type})  {setting.default!r}"
