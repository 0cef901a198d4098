"""The options that every command takes, before or after its name, and what a command gets from them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from taskq.address import parse_address
from taskq.errors import UsageError
from taskq.settings import Settings
from taskq.sources import Sources, read_sources

if TYPE_CHECKING:
    from taskq.app import App


@dataclass
class Invocation:
    """What stood on the command line for all commands. A command gets it by `@pass_invocation`."""

    broker: str | None = None
    modules: tuple[str, ...] = ()
    config: str | None = None
    log_level: str | None = None
    json: bool = False
    _read: Sources | None = field(default=None, repr=False)

    def sources(self, **flags: Any) -> Sources:
        """Return where settings come from; environment and file are read once.

        Args:
            flags: Settings that the command has options for, by name; None was not given.
        """
        if self._read is None:
            self._read = read_sources(config=self.config)
        common = {"broker": self.broker, "app": self.modules or None, "log_level": self.log_level}
        return self._read.with_flags({**common, **flags})

    def settings(self, **flags: Any) -> Settings:
        """Return the settings without importing the user's modules; what their code sets is not in them."""
        return self.sources(**flags).settings({})

    def app(self, **flags: Any) -> App:
        """Import the modules of `-A` (or of the setting `app`) and return their app with these settings.

        Raises:
            AppNotFound: A module cannot be imported, or has no such app.
        """
        from taskq.loading import load_app

        sources = self.sources(**flags)
        app = load_app(self.settings(**flags).app, sources.directory)
        app.adopt(sources)
        return app


def refuse_memory(app: App) -> None:
    """Refuse the broker that lives in one process, to a command that others are to reach through it.

    Raises:
        UsageError: It is that broker.
    """
    if parse_address(app.settings.broker).scheme == "memory":
        raise UsageError(
            "memory:// lives in this process alone, and no other reaches it; name a broker with -b, or see the docs on testing"
        )


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)
"""Give a command the `Invocation` as its first argument."""


log_format_option = click.option(
    "--log-format", metavar="FORMAT", help="text (default), or json: one object a line."
)
"""The option of commands that go on until they are stopped."""


class TaskqCommand(click.Command):
    """A command with the common options: `@click.command(cls=TaskqCommand)`.

    `data=True` stands for a command that prints data: it takes `--json`.
    """

    def __init__(self, *args: Any, data: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.data = data
        self.params.extend(common_options(json=data))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        invocation = ctx.find_object(Invocation)
        if invocation is not None and invocation.json and not self.data:
            raise click.UsageError(f"'{ctx.command_path}' prints no data: it takes no --json", ctx)
        if invocation is not None and self.data:
            _log_if_asked(invocation)
        return super().invoke(ctx)


def _log_if_asked(invocation: Invocation) -> None:
    """Log where `-l` stands; worker and beat, which print no data, see to their logs themselves."""
    if invocation.log_level:
        from taskq.logs import configure_logging

        settings = invocation.settings()
        configure_logging(settings.log_level, settings.log_format)
    else:
        if logging.lastResort is not None:  # what writes warnings where nothing is configured
            logging.lastResort.setFormatter(logging.Formatter("taskq: %(message)s"))
        # The client's lines about a broker that is away say no more than the one error that follows.
        logging.getLogger("taskq_kafka").setLevel(logging.CRITICAL)


def common_options(*, json: bool) -> list[click.Parameter]:
    """Return new common options; their values go to the `Invocation`, not to the command."""
    options = [
        _option(
            _keep("broker"),
            "-b",
            "--broker",
            metavar="HOST:PORT[,...]",
            help="The broker; also taskq:// and taskqs:// (TLS).",
        ),
        _option(
            _extend_modules,
            "-A",
            "--app",
            "modules",
            metavar="MODULE[:APP]",
            multiple=True,
            help="Module with tasks; repeatable, or by comma.",
        ),
        _option(_keep("config"), "--config", metavar="FILE", help="Settings; default taskq.toml."),
        _option(
            _keep("log_level"),
            "-l",
            "--log-level",
            metavar="LEVEL",
            help="debug, info, warning, error or critical.",
        ),
    ]
    if json:
        options.append(
            _option(_keep("json"), "--json", is_flag=True, default=None, help="Print JSON.")
        )
    return options


_Callback = Callable[[click.Context, click.Parameter, Any], Any]


def _option(callback: _Callback, *names: str, **attributes: Any) -> click.Parameter:
    return click.Option(names, callback=callback, expose_value=False, **attributes)


def _invocation(ctx: click.Context) -> Invocation:
    root = ctx.find_root()
    if root.obj is None:
        root.obj = Invocation()
    ctx.obj = root.obj
    assert isinstance(root.obj, Invocation)
    return root.obj


def _keep(name: str) -> _Callback:
    def keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        invocation = _invocation(ctx)
        if value is not None:
            setattr(invocation, name, value)

    return keep


def _extend_modules(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    invocation = _invocation(ctx)
    named = [name.strip() for text in value for name in text.split(",")]
    if not all(named):  # an empty variable in a script is not taken for no option
        raise click.UsageError("-A has an empty item; give it MODULE[:APP]", ctx)
    invocation.modules += tuple(named)
