"""What commands that ask a broker share: a checked connection, and which queues there are."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import click

from taskq.app import App
from taskq.cli.heldup import held_up
from taskq.cli.options import refuse_memory
from taskq.clock import SystemClock
from taskq.errors import TaskqError, UsageError
from taskq.instants import write_seconds
from taskq.near import nearest
from taskq.printing import age
from taskq.protocols import Admin, HeldPartition
from taskq.queues import TIMERS
from taskq.timing.shards import Logs
from taskq.timing.timers import instant_of
from taskq_kafka.steps import source_of


@contextmanager
def admin_of(app: App) -> Iterator[Admin]:
    """Give the admin of an app's broker, which answers; its errors become ours, and the app is closed in the end.

    Raises:
        BrokerUnreachable: No broker answers.
        UsageError: It is `memory://`, which no other process can have filled.
    """
    refuse_memory(app)
    try:
        app.broker.check(is_patient=False)
        with app.broker.errors():
            yield app.broker.admin
    finally:
        app.close()


@contextmanager
def logs_of(app: App) -> Iterator[Logs]:
    """Give the logs of an app's broker, as `admin_of` does its admin.

    Raises:
        UsageError: The broker lives in this process alone, so that nobody else has written to them.
    """
    refuse_memory(app)
    with admin_of(app):
        yield app.broker.logs


def needed_queues(app: App) -> set[str]:
    """Return the queues that a worker of the app takes from: those of its tasks, and the default queue."""
    return {app.settings.default_queue, *(task.queue for task in app.registry)}


def needed_sources(app: App) -> set[str]:
    """Return these queues, and the priority steps of tasks that have a priority of their own."""
    return needed_queues(app) | {source_of(task.queue, task.priority) for task in app.registry}


def require_queue(app: App, admin: Admin, queue: str, *, unless: str = "") -> None:
    """Raise unless a queue exists, or is one that the app's tasks go to.

    Args:
        app: Whose broker it is.
        admin: Of it.
        queue: A name that a queue can have.
        unless: What else the user can do; stands at the error's end.

    Raises:
        TaskqError: It does not; the error offers the nearest name.
    """
    known = {*admin.queues(timeout=app.settings.connect_timeout), *app.registry.queues()}
    if queue not in known:
        raise TaskqError(_missing(queue, known) + unless)


def require_letters(app: App, admin: Admin, queue: str) -> None:
    """Raise unless there is a queue that can have dead letters: one that `require_queue` takes, or whose letters are left.

    Raises:
        TaskqError: There is none; the error offers the nearest name.
    """
    timeout = app.settings.connect_timeout
    known = {*admin.queues(timeout=timeout), *app.registry.queues(), TIMERS}
    if queue in known:
        return
    known.update(admin.dead_letter_queues(timeout=timeout))
    if queue in known:
        return
    # What we may not see is not listed: who asks by name is told so.
    for _ in admin.dead_letters(queue, timeout=timeout):
        return
    raise TaskqError(_missing(queue, known))


def _missing(queue: str, known: Iterable[str]) -> str:
    near = nearest(queue, known)
    hint = f"did you mean {near!r}?" if near else "'taskq queues' prints those that exist"
    return f"there is no queue {queue!r}; {hint}"


def confirm(question: str, *, asks: str, nothing: str) -> None:
    """Return if a person says yes.

    Args:
        question: For the person.
        asks: That the command asks first, for the error.
        nothing: What was not done then, for the other one.

    Raises:
        UsageError: There is none to be asked.
        TaskqError: The answer is no.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{asks}, and nobody is there to answer; add --yes")
    if not click.confirm(question, err=True):
        raise TaskqError(nothing)


def hidden_end(app: App, log: str) -> str:
    """Return in words that an open transaction hides the end of a log; empty if none does, or we may not know."""
    clock = SystemClock()
    held: list[HeldPartition] = []
    with suppress(PermissionError):
        admin, timeout = app.broker.admin, app.settings.connect_timeout
        held = held_up(admin, [app.settings.prefix + log], clock, timeout)
    if not held:
        return ""
    times = [each.since_ms for each in held if each.since_ms is not None]
    since = ""
    if times:
        at = instant_of(min(times))
        since = f" since {write_seconds(at)} ({age((clock.now() - at).total_seconds())})"
    return (
        f"the log {log} could not be read to its end, because a transaction has been open in it{since}: what was written later is "
        "not known here; 'taskq doctor' says what to do"
    )
