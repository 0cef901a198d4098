"""`taskq dlq redrive` and `taskq dlq discard`: dead letters go back to their queue, or for good."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any, TypeVar

import click

from taskq.app import App
from taskq.cli.asking import admin_of, require_letters, require_queue
from taskq.cli.completion import complete_queue
from taskq.cli.letterfilters import filter_options, read_selection
from taskq.cli.movereport import Plan, Progress, print_counts, print_outcome
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.clock import SystemClock
from taskq.errors import TaskqError, UsageError
from taskq.exitcodes import FAILED
from taskq.letters.deadletters import read_dead_letter
from taskq.letters.letteraudit import who_am_i
from taskq.letters.lettermoves import Moves
from taskq.letters.redrive import Chosen, Order
from taskq.printing import counted
from taskq.protocols import Admin, StoredDeadLetter
from taskq.queues import check_letters, check_queue

F = TypeVar("F", bound=Callable[..., Any])


def _selecting(command: F) -> F:
    for option in reversed(
        [
            click.argument("queue", shell_complete=complete_queue),
            click.option(
                "--id",
                "ids",
                metavar="ID",
                multiple=True,
                help="The task's id, or QUEUE/PARTITION/OFFSET; repeatable.",
            ),
            filter_options,
            click.option("--all", "is_all", is_flag=True, help="All of the queue."),
            click.option("--dry-run", is_flag=True, help="Only count them, by task and reason."),
            click.option(
                "--rate", type=float, metavar="PER_SECOND", help="At most so many a second."
            ),
            click.option(
                "--note",
                metavar="TEXT",
                default="",
                help="Why; stands in the log and on the tombstone.",
            ),
            click.option("--yes", is_flag=True, help="Do not ask."),
        ]
    ):
        command = option(command)
    return command


@click.command(cls=TaskqCommand, data=True)
@_selecting
@click.option(
    "--to",
    metavar="QUEUE",
    help="To another queue than it came from; one that exists, or that tasks of the app go to.",
    shell_complete=complete_queue,
)
@click.option(
    "--force",
    is_flag=True,
    help="Also what was redriven five times already, or has expired, and to a queue that is new.",
)
@pass_invocation
@click.pass_context
def redrive(
    ctx: click.Context,
    invocation: Invocation,
    /,
    queue: str,
    to: str | None,
    force: bool,
    note: str,
    **options: Any,
) -> None:
    """Send dead letters of QUEUE back to it, as they were, with their attempts counted anew.

    Those of taskq.timers, which could not be sent when their time had come, go to the queue that each was for.
    Select by --id, by one or more filters (all of them must fit), or with --all. Each goes exactly once: a command that was
    killed can be started again. Exit code 1 if nothing fits the filters, or an id is unknown.
    """
    app = invocation.app()
    check_letters(queue, prefix=app.settings.prefix)
    target = queue if to is None else check_queue(to, prefix=app.settings.prefix)
    order = Order(who_am_i(), SystemClock().now(), note, to=target, is_forced=force)
    _run(ctx, invocation, app, queue, order, **options)


@click.command(cls=TaskqCommand, data=True)
@_selecting
@pass_invocation
@click.pass_context
def discard(
    ctx: click.Context, invocation: Invocation, /, queue: str, note: str, **options: Any
) -> None:
    """Take dead letters of QUEUE out, for good: they cannot be had back.

    Select by --id, by one or more filters (all of them must fit), or with --all. Exit code 1 if nothing fits the filters, or an
    id is unknown.
    """
    app = invocation.app()
    check_letters(queue, prefix=app.settings.prefix)
    order = Order(who_am_i(), SystemClock().now(), note)
    _run(ctx, invocation, app, queue, order, **options)


def _run(
    ctx: click.Context,
    invocation: Invocation,
    app: App,
    queue: str,
    order: Order,
    *,
    ids: tuple[str, ...],
    is_all: bool,
    dry_run: bool,
    rate: float | None,
    yes: bool,
    **filters: Any,
) -> None:
    """Select, ask, move, and say what became of it."""
    _check_options(ctx, ids, filters, is_all=is_all, rate=rate)
    selection = read_selection(ids=ids, **filters)
    plan = Plan(queue, order, selection, is_all, dry_run, rate)
    if not (yes or dry_run or sys.stdin.isatty()):
        raise UsageError(f"dlq {plan.verb} asks first, and nobody is there to answer; add --yes")
    with admin_of(app) as admin:
        timeout = app.settings.connect_timeout
        require_letters(app, admin, queue)
        if order.to not in (None, queue) and not order.is_forced:
            require_queue(app, admin, order.to, unless=" (--force makes it)")
        _choose(plan, admin.dead_letters(queue, timeout=timeout))
        if plan.chosen and not dry_run:
            if not yes:
                _ask(plan)
            _move(plan, admin, timeout)
    print_outcome(plan, as_json=invocation.json)
    if plan.failed or plan.unknown_ids or plan.is_fenced:
        ctx.exit(FAILED)


def _check_options(
    ctx: click.Context,
    ids: Sequence[str],
    filters: dict[str, Any],
    *,
    is_all: bool,
    rate: float | None,
) -> None:
    """Raise unless letters are selected in one of the three ways, and the rate is one."""
    ways = [bool(ids), any(value is not None for value in filters.values()), is_all]
    if sum(ways) != 1:
        problem = "select dead letters" if not any(ways) else "select in one way"
        raise click.UsageError(
            f"{problem}: by --id, by filters (--task, --reason, --error, --older-than, --newer-than), or with --all",
            ctx,
        )
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise click.UsageError(
            f"--rate is a number of dead letters a second, above 0; not {rate:g}", ctx
        )


def _choose(plan: Plan, letters: Iterable[StoredDeadLetter]) -> None:
    """Find out which letters are meant, and which of them are left.

    Raises:
        TaskqError: There are none.
    """
    found = [_chosen(letter) for letter in letters]
    views = [each.view for each in found]
    if not found:
        nothing = f"no dead letters of queue {plan.queue!r}"
        if not plan.is_all:
            raise TaskqError(nothing)
        click.echo(f"taskq: {nothing}", err=True)
    selected = [each for each in found if plan.selection.takes(each.view)]
    plan.unknown_ids = plan.selection.unmatched_ids(views)
    if plan.unknown_ids and not selected:
        named = ", ".join(map(repr, plan.unknown_ids))
        raise TaskqError(
            f"no dead letter of queue {plan.queue!r} has the id {named}; 'taskq dlq list {plan.queue}' prints them"
        )
    if found and not selected:
        near = plan.selection.near_miss(views)
        hint = (
            f"; did you mean {near!r}?"
            if near
            else f"; 'taskq dlq list {plan.queue} --count' counts them by task and reason"
        )
        raise TaskqError(
            f"none of the {counted(len(found), 'dead letter')} of queue {plan.queue!r} fits{hint}"
        )
    for each in selected:
        why = each.why_left(plan.order)
        if why is None:
            plan.chosen.append(each)
        else:
            plan.left[why] = plan.left.get(why, 0) + 1


def _ask(plan: Plan) -> None:
    """Return if a person says yes.

    Raises:
        TaskqError: The answer is no.
    """
    print_counts(plan, err=True)
    ending = ", for good" if plan.order.to is None else plan.where
    if not click.confirm(f"{plan.verb.capitalize()} {plan.letters}{ending}?", err=True):
        raise TaskqError(f"nothing was {plan.order.action}")


def _move(plan: Plan, admin: Admin, timeout: float) -> None:
    """Move what was chosen, as far as it still stands once nobody else can move it."""
    wanted = {each.letter.id for each in plan.chosen}
    with closing(admin.move_dead_letters(plan.queue, timeout=timeout)) as mover:
        standing = [letter for letter in mover.letters(timeout=timeout) if letter.id in wanted]
        removals = [_chosen(letter).removal(plan.order) for letter in standing]
        clock = SystemClock()
        progress = Progress(plan.order, len(removals), clock)
        moves = Moves(mover, clock=clock, timeout=timeout, rate=plan.rate, on_moved=progress.note)
        try:
            moves.run(removals)
        except BaseException:
            if moves.moved:
                click.echo(
                    f"taskq: {plan.order.action} {moves.moved:,} of {len(removals):,} so far; start it again for the rest",
                    err=True,
                )
            raise
    plan.moved = moves.moved
    plan.is_fenced = moves.is_fenced
    plan.failed = [(each.letter.id, why) for each, why in moves.failed]


def _chosen(letter: StoredDeadLetter) -> Chosen:
    return Chosen(letter, read_dead_letter(letter))
