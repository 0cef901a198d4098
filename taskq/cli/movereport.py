"""What `taskq dlq redrive` and `discard` print: the plan before, how far it is, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from taskq.cli.output import print_json, print_table
from taskq.clock import Clock
from taskq.letters.letteraudit import log_removals
from taskq.letters.letterselection import Selection
from taskq.letters.redrive import Chosen, Left, Order, counts
from taskq.printing import counted, escaped
from taskq.protocols import Removal

_PROGRESS_SECONDS = 2.0
_MOST_FAILURES = 10  # lines: of thousands that fail for one reason a few tell it


@dataclass
class Plan:
    """What a command is to do, and what became of it."""

    queue: str
    order: Order
    selection: Selection
    is_all: bool
    is_trial: bool
    rate: float | None
    chosen: list[Chosen] = field(default_factory=list)
    left: dict[Left, int] = field(default_factory=dict)
    unknown_ids: list[str] = field(default_factory=list)
    moved: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    is_fenced: bool = False

    @property
    def verb(self) -> str:
        """What the command does, to be followed by what it does it to."""
        return "redrive" if self.order.to is not None else "discard"

    @property
    def letters(self) -> str:
        """The letters that go, in words."""
        return f"{counted(len(self.chosen), 'dead letter')} of queue {self.queue}"

    @property
    def where(self) -> str:
        """Where they go, if it is elsewhere than where they came from."""
        to = self.order.to
        return f" to queue {to}" if to is not None and to != self.queue else ""


class Progress:
    """Writes the audit's lines, and says every few seconds how far it is."""

    def __init__(self, order: Order, total: int, clock: Clock) -> None:
        """Begin with nothing moved."""
        self._order = order
        self._total = total
        self._clock = clock
        self._moved = 0
        self._said_at = clock.monotonic()

    def note(self, removals: Sequence[Removal]) -> None:
        """Take note of what was moved."""
        log_removals(removals, self._order)
        self._moved += len(removals)
        now = self._clock.monotonic()
        if now - self._said_at >= _PROGRESS_SECONDS:
            self._said_at = now
            click.echo(f"taskq: {self._order.action} {self._moved:,} of {self._total:,}", err=True)


def print_outcome(plan: Plan, *, as_json: bool) -> None:
    """Print what became of a plan."""
    if as_json:
        print_json(_document(plan))
    elif plan.is_trial:
        print_counts(plan)
        click.echo(f"would {plan.verb} {plan.letters}{plan.where}")
    else:
        moved = counted(plan.moved, "dead letter")
        click.echo(f"{plan.order.action} {moved} of queue {plan.queue}{plan.where}")
    for why, count in plan.left.items():
        force = "" if why is Left.NEWER else " (--force sends them)"
        click.echo(f"taskq: left {count:,}: {why.value}{force}", err=True)
    for id in plan.unknown_ids:
        click.echo(escaped(f"taskq: no dead letter has the id {id!r}"), err=True)
    for id, why_not in plan.failed[:_MOST_FAILURES]:
        click.echo(escaped(f"taskq: {id} stays: {why_not}"), err=True)
    if len(plan.failed) > _MOST_FAILURES:
        click.echo(f"taskq: so do {len(plan.failed) - _MOST_FAILURES:,} more", err=True)
    if plan.is_fenced:
        click.echo(
            f"taskq: another redrive or discard of queue {plan.queue} has taken over, so this one ended; nothing was moved twice",
            err=True,
        )


def print_counts(plan: Plan, *, err: bool = False) -> None:
    """Print how many letters go, by task and reason.

    Args:
        plan: Its letters are chosen.
        err: To stderr, plainly: before a question.
    """
    rows = [
        {"task": task, "reason": reason, "count": count}
        for _, task, reason, count in counts(each.view for each in plan.chosen)
    ]
    if err:
        for row in rows:
            click.echo(
                escaped(f"{row['count']:>8,}  {row['task'] or '-'}  {row['reason'] or '-'}"),
                err=True,
            )
    else:
        print_table(rows, ("task", "reason", "count"))


def _document(plan: Plan) -> dict[str, Any]:
    return {
        "queue": plan.queue,
        "action": plan.verb,
        "to": plan.order.to,
        "dry_run": plan.is_trial,
        "selected": len(plan.chosen),
        "moved": plan.moved,
        "counts": [
            {"task": task, "reason": reason, "count": count}
            for _, task, reason, count in counts(each.view for each in plan.chosen)
        ],
        "left": [{"why": why.name.lower(), "count": count} for why, count in plan.left.items()],
        "unknown_ids": plan.unknown_ids,
        "failed": [{"source": id, "why": why} for id, why in plan.failed],
        "fenced": plan.is_fenced,
    }
