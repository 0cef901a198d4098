"""The command `taskq`: finds the command, and turns errors into one line and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import click

from taskq import earlystop
from taskq.cli.groups import Entry, TaskqGroup
from taskq.errors import BrokerUnreachable, TaskqError, UnknownOption, UsageError
from taskq.exitcodes import FAILED, FINE, INTERRUPTED, UNREACHABLE, USAGE
from taskq.near import nearest
from taskq.printing import shortened
from taskq.streams import discard, fill_closed_streams, is_full

logger = logging.getLogger(__name__)

_COMMANDS = {
    "beat": Entry("taskq.cli.beat:beat", "Send the tasks of schedules when they are due."),
    "call": Entry("taskq.cli.send:send", "The same as send.", hidden=True),
    "completion": Entry(
        "taskq.cli.completion:completion", "Print a shell's completion script: bash, zsh, fish."
    ),
    "config": Entry("taskq.cli.config:config", "Print the settings and where each came from."),
    "dev": Entry("taskq.cli.dev:dev", "Run a broker, a worker and beat in one terminal."),
    "dlq": Entry("taskq.cli.dlq:dlq", "Look at dead letters, send them again, discard them."),
    "doctor": Entry("taskq.cli.doctor:doctor", "Check the broker, topics, rights and queues."),
    "find": Entry("taskq.cli.find:find", "Say where a task is."),
    "purge": Entry("taskq.cli.purge:purge", "Delete what waits in a queue."),
    "queues": Entry("taskq.cli.queues:queues", "Print queues, what waits in them, and workers."),
    "revoke": Entry("taskq.cli.revoke:revoke", "Have tasks not run."),
    "schedule": Entry(
        "taskq.cli.schedule:schedule", "Check, explain, list, pause and trigger schedules."
    ),
    "send": Entry("taskq.cli.send:send", "Send a task by its name."),
    "tasks": Entry("taskq.cli.tasks:tasks", "Print the tasks of the app."),
    "timers": Entry("taskq.cli.timers:timers", "Look at tasks that wait for their time."),
    "topics": Entry("taskq.cli.topics:topics", "List and make the topics that taskq needs."),
    "worker": Entry("taskq.cli.worker:worker", "Run tasks."),
    "workers": Entry("taskq.cli.workers:workers", "Print the workers and what they hold."),
}


_LONGEST = 2000
"""Characters of an error: what a user gave may be of any length, and hides what is said of it."""


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from taskq import __version__

        click.echo(f"taskq {__version__}")
        ctx.exit()


@click.group(
    cls=TaskqGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def cli() -> None:
    """Run Python functions as background tasks, with Apache Kafka as the only server."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Without the program's name; None takes the process's own.
    """
    fill_closed_streams()
    try:
        earlystop.end()
        code = cli.main(
            None if arguments is None else list(arguments), prog_name="taskq", standalone_mode=False
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else FINE
    except click.ClickException as error:
        return _complain(_usage_line(error), USAGE)
    except UsageError as error:
        return _complain(str(error), USAGE)
    except BrokerUnreachable as error:
        return _complain(str(error), UNREACHABLE)
    except TaskqError as error:
        return _complain(str(error), FAILED)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        discard(sys.stdout)  # who reads our output has enough
        return FAILED
    except OSError as error:
        if not is_full(error):
            raise
        discard(sys.stdout)
        return _complain(f"cannot write to stdout: {error.strerror}", FAILED)


def _complain(line: str, code: int) -> int:
    line = shortened(" ".join(line.split()), most=_LONGEST)
    if _is_log_json():
        extra = {"event": "command.failed", "exit_code": code}
        logger.critical("%s", line, extra=extra)
        return code
    try:
        print(f"taskq: {line}", file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)  # the code says it still
    return code


def _is_log_json() -> bool:
    """Return whether worker or beat came so far that their stderr is JSON; imports nothing for a command that logs nothing."""
    logs = sys.modules.get("taskq.logs")
    return logs is not None and bool(logs.is_json())


def _usage_line(error: click.ClickException) -> str:
    """Return click's complaint as one line in our words."""
    if isinstance(error, click.NoSuchOption):
        if _is_planned(error):
            command = error.ctx.command_path if error.ctx else "taskq"
            return str(UnknownOption(error.option_name, where=command, planned=True))
        known = _options(error.ctx)
        near = nearest(error.option_name, known)
        hint = f"did you mean {near!r}?" if near else "see --help"
        return f"unknown option {error.option_name!r}; {hint}"
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    if isinstance(error, click.MissingParameter) and error.ctx is not None:
        return f"{message}; see '{error.ctx.command_path} --help'"
    return message


def _is_planned(error: click.NoSuchOption) -> bool:
    """Return whether `send` is asked for an option of the API that this version does not have: no other is offered then."""
    if error.ctx is None or error.ctx.info_name not in ("send", "call"):
        return False
    from taskq.sending.sendoptions import ELSEWHERE  # only this error needs it

    return error.option_name.lstrip("-").replace("-", "_") in ELSEWHERE


def _options(ctx: click.Context | None) -> list[str]:
    if ctx is None:
        return []
    return [name for parameter in ctx.command.get_params(ctx) for name in parameter.opts]
