"""`taskq send`: send a task by its name."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from typing import Any

import click

from taskq.app import App
from taskq.cli.completion import complete_queue, complete_task
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation, refuse_memory
from taskq.cli.output import print_json
from taskq.errors import EncodeError, InvalidArguments, TaskqError, UsageError
from taskq.instants import read_instant
from taskq.near import nearest
from taskq.printing import shortened
from taskq.streams import discard


def _json_of(kind: type, words: str) -> Any:
    def parse(ctx: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        if text is None:
            return kind()
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(
                f"{shortened(repr(text))} is not JSON: {error}", ctx, parameter
            ) from error
        if not isinstance(value, kind):
            raise click.BadParameter(f"{shortened(repr(text))} is not {words}", ctx, parameter)
        return value

    return parse


def _headers(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    headers = {}
    for text in values:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{shortened(repr(text))} is not NAME=VALUE", ctx, parameter)
        headers[name] = value
    return headers


def _instant(ctx: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return read_instant(text)
    except ValueError as error:
        raise click.BadParameter(f"{shortened(repr(text))} {error}", ctx, parameter) from error


def _instant_or_seconds(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> float | datetime | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return _instant(ctx, parameter, text)


@click.command(cls=TaskqCommand, data=True)
@click.argument("task", shell_complete=complete_task)
@click.option(
    "-a",
    "--args",
    "args",
    metavar="JSON",
    callback=_json_of(list, "an array, such as '[\"ACME\", 3]'"),
    help="Positional arguments, a JSON array.",
)
@click.option(
    "-k",
    "--kwargs",
    "kwargs",
    metavar="JSON",
    callback=_json_of(dict, "an object, such as '{\"amount\": 3}'"),
    help="Keyword arguments, a JSON object.",
)
@click.option(
    "--queue",
    metavar="QUEUE",
    shell_complete=complete_queue,
    help="Default: the task's own, else the default queue.",
)
@click.option("--key", metavar="KEY", help="Tasks of one key run one at a time, in order.")
@click.option(
    "--priority", metavar="0-9", type=int, help="9 goes first. Default: the task's own, else 0."
)
@click.option("--countdown", metavar="SECONDS", type=float, help="Run it so long from now.")
@click.option(
    "--eta",
    metavar="TIME",
    callback=_instant,
    help="Run it then: ISO 8601 with an offset, such as 2026-11-23T17:00:00Z.",
)
@click.option(
    "--expires",
    metavar="SECONDS|TIME",
    callback=_instant_or_seconds,
    help="Do not run it any more after that.",
)
@click.option("--task-id", metavar="ID", help="Default: a new one.")
@click.option(
    "--header",
    "headers",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_headers,
    help="A further header; repeatable.",
)
@pass_invocation
def send(
    invocation: Invocation, /, task: str, args: list[Any], kwargs: dict[str, Any], **options: Any
) -> None:
    """Send TASK, which need not be known here, and print its id.

    Where the app of -A has it, its arguments are checked and its queue is used.
    """
    app = invocation.app()
    refuse_memory(app)
    _warn_unknown(app, task)
    # A broker that does not answer is told apart from an acknowledgement that does not come.
    app.broker.check(is_patient=False)
    try:
        result = app.send_task(task, args, kwargs, **options)
    except InvalidArguments as error:
        raise UsageError(_in_options(error)) from error
    except EncodeError as error:
        raise UsageError(str(error)) from error
    finally:
        app.close()
    try:
        if invocation.json:
            print_json({"id": result.id, "task": result.task, "queue": result.queue})
        else:
            click.echo(result.id)
    except OSError as error:
        discard(sys.stdout)
        why = error.strerror or type(error).__name__
        raise TaskqError(
            f"task {result.id} was sent; that cannot be written to stdout: {why}"
        ) from error


def _in_options(error: InvalidArguments) -> str:
    """Return what is wrong, with the options as they stand on the command line."""
    if not error.options:
        return str(error)
    why = error.why
    for name in error.options:
        why = re.sub(rf"\b{name}\b", f"--{name.replace('_', '-')}", why, count=1)
    return why


def _warn_unknown(app: App, name: str) -> None:
    if not len(app.registry) or name in app.registry:
        return
    near = nearest(name, app.registry.names())
    hint = f"; did you mean {near!r}?" if near else ""
    click.echo(f"taskq: the app has no task {name!r}, it is sent all the same{hint}", err=True)
