"""The options that select dead letters, of `dlq list`, `redrive` and `discard`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from taskq.ages import read_age
from taskq.cli.completion import complete_task
from taskq.clock import SystemClock
from taskq.letters.letterselection import REASONS, Selection
from taskq.near import nearest

F = TypeVar("F", bound=Callable[..., Any])


def _read_age(ctx: click.Context, parameter: click.Parameter, text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        return read_age(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} {error}", ctx, parameter) from None


def filter_options(command: F) -> F:
    """Give a command the options `task`, `reason`, `error`, `older_than` and `newer_than`."""
    for option in reversed(
        [
            click.option(
                "--task", metavar="NAME", help="Of this task.", shell_complete=complete_task
            ),
            click.option("--reason", metavar="CODE", help="Put aside for this reason."),
            click.option(
                "--error",
                metavar="TEXT",
                help="With this text in the error's line; capitals or not.",
            ),
            click.option(
                "--older-than",
                callback=_read_age,
                metavar="AGE",
                help="Failed longer ago: 90s, 15m, 2h30m, 7d.",
            ),
            click.option("--newer-than", callback=_read_age, metavar="AGE", help="Failed since."),
        ]
    ):
        command = option(command)
    return command


def read_selection(
    *,
    ids: tuple[str, ...] = (),
    task: str | None,
    reason: str | None,
    error: str | None,
    older_than: timedelta | None,
    newer_than: timedelta | None,
) -> Selection:
    """Return what the options select.

    Raises:
        UsageError: One is empty, as an empty variable in a script is: it would select more than was meant; or there is no such
            reason, so that nothing can ever have it.
    """
    for name, text in (("--task", task), ("--reason", reason), ("--error", error)):
        if text is not None and not text:
            raise click.UsageError(f"{name} is empty")
    if reason is not None and reason not in REASONS:
        near = nearest(reason, REASONS)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(REASONS)}"
        raise click.UsageError(f"unknown reason {reason!r}; {hint}")
    if not all(ids):
        raise click.UsageError("--id is empty")
    now = SystemClock().now()
    return Selection(
        ids=ids,
        task=task,
        reason=reason,
        error=error,
        failed_before=_ago(now, older_than, "--older-than"),
        failed_after=_ago(now, newer_than, "--newer-than"),
    )


def _ago(now: datetime, age: timedelta | None, option: str) -> datetime | None:
    if age is None:
        return None
    try:
        return now - age
    except OverflowError:
        raise click.UsageError(f"{option} goes back before the calendar begins") from None
