"""`taskq beat`: send the tasks of schedules when they are due."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

import click

from taskq.beat import Beat
from taskq.cli.options import (
    Invocation,
    TaskqCommand,
    log_format_option,
    pass_invocation,
    refuse_memory,
)
from taskq.cli.worker import leave
from taskq.errors import UsageError
from taskq.logs import configure_logging, held_back

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    with held_back():
        try:
            app = invocation.app(
                schedule=list(files) or None, namespace=namespace, log_format=log_format
            )
        except UsageError:
            if if_any:
                return 0  # the worker beside it loads the same app, and says what is wrong
            raise
        settings = app.settings
        configure_logging(settings.log_level, settings.log_format)
    refuse_memory(app)
    if if_any and not settings.schedule and not any(task.schedule for task in app.registry):
        return 0
    sender = Beat(
        app,
        settings.schedule,
        namespace=settings.namespace,
        replace=replace,
        modules=settings.app,
    )
    try:
        if _run(sender):
            leave(1)  # past clients that wait for an answer
    finally:
        app.close()
    return 0


def _run(sender: Beat) -> int:
    """Run beat in a thread of its own, so that a signal, which comes in this one, may take the locks to stop it."""
    with (
        ThreadPoolExecutor(1, thread_name_prefix="taskq-beat") as threads,
        _stopped_by_signals(sender),
    ):
        return threads.submit(sender.run).result()


@contextmanager
def _stopped_by_signals(sender: Beat) -> Iterator[None]:
    """Let the first signal stop beat when it has handed over, and a second one end the process at once."""
    seen = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if seen.is_set() or not sender.is_running:
            # The second, or it still waits for the broker: a client that waits hears nothing.
            os._exit(128 + number)
        seen.set()
        sender.stop()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
