"""`taskq worker`: run tasks."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

import click

from taskq.cli.leaving import leave, taking_signals
from taskq.cli.options import (
    Invocation,
    TaskqCommand,
    log_format_option,
    pass_invocation,
    refuse_memory,
)
from taskq.hostport import HostPort, parse_host_port

logger = logging.getLogger("taskq.worker")


def _host_port(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> HostPort | None:
    if value is None:
        return None
    try:
        return parse_host_port(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


@click.command(cls=TaskqCommand)
@click.option("-Q", "--queues", metavar="QUEUE[,...]", multiple=True, help="Only these queues.")
@click.option(
    "-X", "--exclude-queues", metavar="QUEUE[,...]", multiple=True, help="Not these queues."
)
@click.option(
    "-c", "--concurrency", metavar="N", help="Tasks at a time; default: the CPUs, asyncio 100."
)
@click.option("-P", "--pool", metavar="POOL", help="prefork (default), threads, asyncio or solo.")
@click.option("-n", "--name", metavar="NAME", help="Default: the host's name.")
@click.option(
    "--group",
    metavar="ID",
    help="Consumer group of the workers; default taskq. A new one runs all that stands in the queues, from the earliest record.",
)
@click.option(
    "--grace", metavar="SECONDS", help="Time for what runs to finish at a stop; default 25."
)
@click.option(
    "--claim-ahead",
    metavar="N",
    help="Most tasks a slot may hold before it is free; default and most: 64, 0: none.",
)
@click.option(
    "--no-timers",
    is_flag=True,
    help="Leave the time of waiting tasks (countdown, eta) to other workers, or to beat.",
)
@click.option(
    "--max-tasks-per-child",
    metavar="N",
    help="Replace a pool process after so many tasks; default: never.",
)
@click.option(
    "--max-memory-per-child",
    metavar="SIZE",
    help="Replace a pool process that has more memory, such as 300MB, after its task; default: never.",
)
@click.option(
    "--health",
    metavar="HOST:PORT",
    callback=_host_port,
    help="Where to answer /healthz, /readyz and /metrics; default: nowhere.",
)
@log_format_option
@click.option("--also-queues", metavar="QUEUE[,...]", multiple=True, hidden=True)  # dev's
@pass_invocation
def worker(
    invocation: Invocation,
    queues: tuple[str, ...],
    exclude_queues: tuple[str, ...],
    concurrency: str | None,
    pool: str | None,
    name: str | None,
    group: str | None,
    grace: str | None,
    claim_ahead: str | None,
    no_timers: bool,
    max_tasks_per_child: str | None,
    max_memory_per_child: str | None,
    health: HostPort | None,
    log_format: str | None,
    also_queues: tuple[str, ...],
) -> None:
    """Run tasks until SIGINT or SIGTERM; a second signal, half a second later or more, or SIGQUIT, ends it at once.

    Exit code 0: all that was taken has finished. 1: some was lost (the log names it), or the pool does not start.
    """
    with taking_signals(logger, "worker.stopped") as signals:
        from taskq import __version__
        from taskq.clock import SystemClock
        from taskq.logs import configure_logging, held_back, plan_lines
        from taskq.worker.options import doubts, worker_options
        from taskq.worker.poolfactory import make_pool
        from taskq.worker.supervisor import Worker

        flags = {
            "concurrency": concurrency,
            "pool": pool,
            "name": name,
            "group": group,
            "grace": grace,
            "claim_ahead": claim_ahead,
            "max_tasks_per_child": max_tasks_per_child,
            "max_memory_per_child": max_memory_per_child,
            "log_format": log_format,
        }
        with held_back():
            app = invocation.app(**flags)
            settings = app.settings
            # After the app's modules, which may have their own wishes.
            configure_logging(settings.log_level, settings.log_format)
        only, without = split_names(queues), split_names(exclude_queues)
        options = worker_options(
            settings,
            app.registry,
            host=socket.gethostname(),
            only=only,
            without=without,
            also=split_names(also_queues),
            timers=not no_timers,
            health=health,
        )
        refuse_memory(app)
        for line in doubts(settings, app.registry, only=only, without=without):
            logger.warning("%s", line, extra={"event": "worker.doubtful"})
        plan = plan_lines()
        clock = SystemClock()
        tasks = make_pool(
            app,
            options,
            plan,
            modules=settings.app,
            sources=invocation.sources(**flags),
            clock=clock,
        )
        code = Worker(app, options, tasks, plan, version=__version__, clock=clock).run(signals)
        leave(code)


def split_names(values: Sequence[str]) -> list[str]:
    """Return the names; one that is empty too, so that an empty variable in a script is not taken for no option."""
    return [name.strip() for value in values for name in value.split(",")]
