"""How a process ends that goes on until it is asked to stop: worker and beat."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import click

from taskq.streams import flush_or_discard
from taskq.worker.signals import ALL_SIGNALS, Signals, StopAsked


@contextmanager
def taking_signals(
    logger: logging.Logger, event: str, numbers: Sequence[signal.Signals] = ALL_SIGNALS
) -> Iterator[Signals]:
    """Take the signals over, before anything is imported that takes its time; leave the process when one comes before `calm`.

    Args:
        logger: For the line that says so.
        event: Of that line.
        numbers: Which signals.
    """
    with Signals(numbers, raising=True) as signals:
        try:
            yield signals
        except StopAsked as asked:
            say_stopped_early(logger, event)
            leave(asked.code)


def say_stopped_early(logger: logging.Logger, event: str) -> None:
    """Say that there was nothing to finish: a line of the log, or of the command while it is not known yet how to log."""
    told = "stopped before it was ready"
    if logger.hasHandlers():
        logger.info(told, extra={"event": event})
    else:
        click.echo(f"taskq: {told}", err=True)


def leave(code: int) -> NoReturn:
    """End the process: past the threads that tasks may have left behind, and past a broker that does not answer."""
    if threading.active_count() > 1:
        logging.shutdown()
        flush_or_discard()
        os._exit(code)
    flush_or_discard()
    sys.exit(code)
