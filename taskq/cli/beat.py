"""`taskq beat`: send the tasks of schedules when they are due."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import click

from taskq.cli.leaving import leave, say_stopped_early, taking_signals
from taskq.cli.options import (
    Invocation,
    TaskqCommand,
    log_format_option,
    pass_invocation,
    refuse_memory,
)
from taskq.errors import UsageError
from taskq.exitcodes import FAILED, FINE, SIGNALLED
from taskq.worker.signals import STOP_SIGNALS, Signals

if TYPE_CHECKING:
    from taskq.scheduling.beat import Beat

logger = logging.getLogger(__name__)

_STOPPED = "beat.stopped"


@click.command(cls=TaskqCommand)
@click.option(
    "-s",
    "--schedule",
    "files",
    metavar="FILE",
    multiple=True,
    help="Schedule file; repeatable. Read again when its content changes.",
)
@click.option(
    "--namespace",
    metavar="NAME",
    help="Where the ids are unique; default: for each file its name without ending.",
)
@click.option(
    "--replace", is_flag=True, help="Let a changed file remove every schedule that it held before."
)
@click.option(
    "--if-any", is_flag=True, hidden=True
)  # dev's: no schedule is no error, and of the app the worker tells
@log_format_option
@pass_invocation
def beat(
    invocation: Invocation,
    files: tuple[str, ...],
    namespace: str | None,
    replace: bool,
    if_any: bool,
    log_format: str | None,
) -> int:
    """Send the tasks of schedules when they are due, until SIGINT or SIGTERM; a second signal ends it at once.

    Any number of beats may run: each occurrence is sent once, and where one ends another goes on. The schedules are those of the
    files and of the tasks of -A that have a cron. Exit code 0: what it owned is handed over. 1: the broker did not answer then.
    """
    with taking_signals(logger, _STOPPED, STOP_SIGNALS) as signals:
        from taskq.logs import configure_logging, held_back
        from taskq.scheduling.beat import Beat

        with held_back():
            try:
                app = invocation.app(
                    schedule=list(files) or None, namespace=namespace, log_format=log_format
                )
            except UsageError:
                if if_any:
                    return FINE  # the worker beside it loads the same app, and says what is wrong
                raise
            settings = app.settings
            configure_logging(settings.log_level, settings.log_format)
        refuse_memory(app)
        if if_any and not settings.schedule and not any(task.schedule for task in app.registry):
            return FINE
        sender = Beat(
            app,
            settings.schedule,
            namespace=settings.namespace,
            replace=replace,
            modules=settings.app,
        )
        try:
            if _run(sender, signals):
                leave(FAILED)  # past clients that wait for an answer
        finally:
            app.close()
    return FINE


def _run(sender: Beat, signals: Signals) -> int:
    """Run beat in a thread of its own, so that this one hears signals: the first stops it, a second one ends the process."""
    signals.calm()
    with ThreadPoolExecutor(1, thread_name_prefix="taskq-beat") as threads:
        running = threads.submit(sender.run)
        running.add_done_callback(lambda _: signals.wake())
        is_asked = False
        while not running.done():
            for number in signals.wait(None):
                if is_asked:
                    os._exit(SIGNALLED + number)
                is_asked = True
                if not sender.is_running:  # it may wait for a broker, and hear nothing
                    say_stopped_early(logger, _STOPPED)
                    leave(FINE)
                logger.info(
                    "stopping: hands over what it owns; a second signal ends it at once",
                    extra={"event": "beat.stopping"},
                )
                sender.stop()
        return running.result()
