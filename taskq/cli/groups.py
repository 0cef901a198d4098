"""Groups of commands that load a command's file only when it is called, and name the nearest for one that does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from taskq.cli.options import common_options
from taskq.exitcodes import USAGE
from taskq.near import nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_SUMMARY = (
    200  # characters: a first sentence is not cut, the list of commands has room for two lines
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command stands, and its line in `--help`, which loads no command."""

    path: str
    """MODULE:NAME."""

    summary: str
    hidden: bool = False


def _require_command() -> None:
    """Run in place of each group's own function, which has nothing to do."""
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        raise click.UsageError(f"missing command; see '{ctx.command_path} --help'", ctx)


class TaskqGroup(click.Group):
    """A group whose commands may be loaded late; takes the common options, too."""

    def __init__(self, *args: Any, lazy: Mapping[str, Entry] | None = None, **kwargs: Any) -> None:
        kwargs.update(callback=_require_command, invoke_without_command=True)
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})
        self.params.extend(common_options(json=True))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Print the help where nothing at all is given; the exit code says that nothing was done."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C is told without the empty line that click would print."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands that are not hidden, sorted."""
        late = (name for name, entry in self.lazy.items() if not entry.hidden)
        return sorted({*super().list_commands(ctx), *late})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command, loading its file."""
        entry = self.lazy.get(name)
        if entry is None:
            return super().get_command(ctx, name)
        module, _, attribute = entry.path.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name, or raise with the nearest."""
        if args and args[0] not in self.lazy and args[0] not in self.commands:
            if args[0].startswith("-"):
                return super().resolve_command(ctx, args)
            near = nearest(args[0], self.list_commands(ctx))
            hint = f"did you mean {near!r}?" if near else f"see '{ctx.command_path} --help'"
            raise click.UsageError(f"unknown command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, from the table, and the options."""
        from click.shell_completion import CompletionItem  # a shell asks, no other start needs it

        commands = [
            CompletionItem(name, help=self._summary(name))
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def _summary(self, name: str) -> str:
        entry = self.lazy.get(name)
        return entry.summary if entry else self.commands[name].get_short_help_str(_SUMMARY)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, so that no file is loaded for it."""
        rows = [(name, self._summary(name)) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
