"""`taskq dev`: broker, worker and beat in one terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

from taskq.app import App
from taskq.broker import start_embedded
from taskq.cli.leaving import leave
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.worker import split_names
from taskq.dev.plan import DevPlan, broker_variables, check_command, child_environ, export_line
from taskq.dev.terminal import OUT, Terminal
from taskq.errors import UsageError
from taskq.logs import quiet_client
from taskq.sources import environment


@click.command(cls=TaskqCommand, context_settings={"allow_interspersed_args": False})
@click.option(
    "-s",
    "--schedule",
    "files",
    metavar="FILE",
    multiple=True,
    help="Schedule file; repeatable. Starts beat, and the worker takes its queues.",
)
@click.option("-Q", "--queues", metavar="QUEUE[,...]", multiple=True, help="Only these queues.")
@click.option(
    "-X", "--exclude-queues", metavar="QUEUE[,...]", multiple=True, help="Not these queues."
)
@click.option("-c", "--concurrency", metavar="N", help="Tasks at a time.")
@click.option("-P", "--pool", metavar="POOL", help="prefork (default), threads, asyncio or solo.")
@click.option(
    "--reload",
    is_flag=True,
    help="Start worker and beat anew when a Python or schedule file changes.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ...]")
@pass_invocation
def dev(
    invocation: Invocation,
    files: tuple[str, ...],
    queues: tuple[str, ...],
    exclude_queues: tuple[str, ...],
    concurrency: str | None,
    pool: str | None,
    reload: bool,
    command: tuple[str, ...],
) -> NoReturn:
    """Run a broker, a worker and, with schedules in files or tasks, beat in this terminal until Ctrl-C.

    The broker lives in this process: nothing to install or start, and all that was in it is gone at the end. With -b it is a real
    one. COMMAND runs with TASKQ_BROKER set; when it ends the others go on.
    """
    from taskq.clock import SystemClock
    from taskq.dev.runner import Dev
    from taskq.dev.watch import Watch, check_watchfiles

    environ = environment()
    if reload:
        check_watchfiles()
    check_command(command, environ)
    flags = {"schedule": list(files) or None, "concurrency": concurrency, "pool": pool}
    with contextlib.redirect_stdout(sys.stderr):  # the first line there is the export
        app = invocation.app(**flags)
    _check(app, queues, exclude_queues)
    settings = app.settings
    terminal = Terminal(environ)
    is_embedded = invocation.broker is None
    with _embedded(terminal) if is_embedded else _real(app) as address:
        variables = broker_variables(settings, broker=address, is_embedded=is_embedded)
        plan = DevPlan(
            common=tuple(_common(invocation)),
            worker=tuple(_worker_words(queues, exclude_queues, concurrency, pool)),
            # What is embedded is nobody else's: there a file may hold other schedules after each change.
            beat=("--replace",) if is_embedded else (),
            schedule=settings.schedule,
            has_code_schedules=any(task.schedule for task in app.registry),
            reloads=reload,
            takes_schedule_queues=not queues,
            command=command,
            environ=child_environ(environ, variables),
            settings=settings,
        )
        watch = Watch(_folders(settings.directory), settings.schedule) if reload else None
        _greet(terminal, app, variables, is_embedded=is_embedded)
        code = Dev(plan, terminal, SystemClock(), watch=watch).run()
    leave(code)


def _check(app: App, queues: Sequence[str], exclude_queues: Sequence[str]) -> None:
    """Raise now what worker and beat would raise."""
    from taskq.scheduling.schedulefile import read_schedule_file
    from taskq.worker.options import worker_options

    if app.broker.address.scheme == "memory":
        raise UsageError("memory:// is one process's own, and dev has several; leave -b out")
    worker_options(
        app.settings,
        app.registry,
        host="dev",
        only=split_names(queues),
        without=split_names(exclude_queues),
    )
    for file in app.settings.schedule:
        read_schedule_file(file)


@contextlib.contextmanager
def _embedded(terminal: Terminal) -> Iterator[str]:
    """Run a broker in this process; give its address."""
    broker = start_embedded()
    try:
        yield broker.address
    finally:
        broker.close()
        terminal.say("the embedded broker is gone, and all that was in it")


@contextlib.contextmanager
def _real(app: App) -> Iterator[str]:
    """Make sure that the broker of `-b` answers; give its address."""
    try:
        with quiet_client():
            app.broker.check()
    finally:
        app.close()
    yield app.settings.broker


def _greet(
    terminal: Terminal, app: App, variables: Mapping[str, str], *, is_embedded: bool
) -> None:
    """Print how other terminals reach the broker, and what it is."""
    settings, address = app.settings, app.broker.address
    if is_embedded or address.password is None:
        terminal.write(OUT, f"{export_line(variables)}\n".encode())
    if not is_embedded:
        terminal.say(f"broker {address}")
        return
    terminal.say("embedded broker: nothing in it is kept; Ctrl-C ends all")
    source = settings.source("broker")
    if source != "default":
        terminal.say(f"the broker that the {source} names is not used; -b uses a real one")


def _common(invocation: Invocation) -> Iterator[str]:
    """Yield the options of this command line that worker and beat get too."""
    for module in invocation.modules:
        yield from ("-A", module)
    if invocation.config is not None:
        yield from ("--config", invocation.config)
    if invocation.log_level is not None:
        yield from ("--log-level", invocation.log_level)


def _worker_words(
    queues: Sequence[str], exclude_queues: Sequence[str], concurrency: str | None, pool: str | None
) -> Iterator[str]:
    """Yield the worker's own options."""
    for option, values in (
        ("-Q", queues),
        ("-X", exclude_queues),
        ("-c", [concurrency]),
        ("-P", [pool]),
    ):
        for value in values:
            if value is not None:
                yield from (option, value)


def _folders(directory: str) -> Sequence[Path]:
    """Return where the user's modules are: the working directory, and the settings file's if that is elsewhere."""
    here, other = Path.cwd(), Path(directory).resolve()
    return [here] if other.is_relative_to(here) else [here, other]
