"""`taskq completion`: the script that lets a shell complete commands, options, tasks and queues; and what it completes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import click
from click.shell_completion import CompletionItem, get_completion_class

from taskq.cli.options import Invocation, TaskqCommand

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = (
    "_TASKQ_COMPLETE"  # what click derives from the program's name, and looks for at its start
)


@click.command(cls=TaskqCommand)
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the script for SHELL: bash, zsh or fish.

    \b
    bash:  taskq completion bash > ~/.local/share/bash-completion/completions/taskq
    zsh:   echo 'eval "$(taskq completion zsh)"' >> ~/.zshrc
    fish:  taskq completion fish > ~/.config/fish/completions/taskq.fish

    Names of tasks and queues are those of the app that -A or taskq.toml names; no broker is asked.
    """  # noqa: D301 - the backslash is click's mark for lines that stay as they are
    from taskq.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    with _quiet():
        script = found(cli, {}, "taskq", _VARIABLE).source()
    click.echo(script)


def complete_task(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of the app's tasks that begin so."""
    return [CompletionItem(name) for name in _names(ctx, "tasks") if name.startswith(incomplete)]


def complete_queue(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the queues of the app's tasks, and the default queue, that begin so."""
    return [CompletionItem(name) for name in _names(ctx, "queues") if name.startswith(incomplete)]


def _names(ctx: click.Context, kind: str) -> list[str]:
    """Return names that the app knows; none where it cannot be loaded: a shell that completes is no place for an error."""
    from taskq.cli.asking import needed_queues

    invocation = ctx.find_object(Invocation) or Invocation()
    with _quiet(), contextlib.suppress(Exception):
        app = invocation.app()
        return sorted(app.registry.names() if kind == "tasks" else needed_queues(app))
    return []


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what modules print at their import, and click's remarks about the shell, out of the shell's line."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
