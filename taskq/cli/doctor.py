"""`taskq doctor`: what is wrong, what it means, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import click

from taskq.acls import needed_rights
from taskq.app import App
from taskq.cli.asking import admin_of, needed_queues, needed_sources
from taskq.cli.heldup import held_up
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json, print_table
from taskq.cli.timekeeping import has_beat
from taskq.clock import Clock, SystemClock, unix_ms
from taskq.doctor import (
    Facts,
    Finding,
    Level,
    SchedulesSeen,
    Stamp,
    TimersSeen,
    examine,
    our_queues,
    schedules_seen,
)
from taskq.printing import counted, escaped
from taskq.protocols import Admin, GroupStatus, HeldPartition, QueueStatus, TopicStatus
from taskq.scheduling.schedulelog import LOG as SCHEDULES
from taskq.scheduling.schedulelog import read_shelves
from taskq.scheduling.scheduleview import views
from taskq.timing import revocation
from taskq.timing.timers import GROUP, LOG
from taskq.waiting import read_waiting
from taskq_kafka.steps import highest_first, queue_of_source

_FAILED = 1


@click.command(cls=TaskqCommand, data=True)
@click.option(
    "--acls", is_flag=True, help="Print the rights that each command needs; asks no broker."
)
@pass_invocation
@click.pass_context
def doctor(ctx: click.Context, invocation: Invocation, acls: bool) -> None:
    """Check broker, topics, rights, clocks, queues and workers. Writes nothing to the cluster.

    Each finding is ok, a note, or a problem, with what it means and what to do. Exit code 1 if there is a problem.
    """
    app = invocation.app()
    if acls:
        _print_rights(app, invocation)
        return
    with admin_of(app) as admin:
        findings = examine(_facts(app, admin, SystemClock()))
    if invocation.json:
        print_json([_document(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.level is Level.PROBLEM for finding in findings):
        ctx.exit(_FAILED)


def _facts(app: App, admin: Admin, clock: Clock) -> Facts:
    settings = app.settings
    timeout, group = settings.connect_timeout, settings.group
    # The first thing and the last: a commit in between shows the broker's clock.
    first = _stamp(admin, clock, timeout)
    needed = needed_queues(app)
    sources = admin.sources(timeout=timeout)
    queues = sorted({*sources, *needed_sources(app)})
    cluster = admin.cluster(group=group, timeout=timeout)
    topics = admin.topics(queues, timeout=timeout)
    unseen: list[str] = []
    members = GroupStatus(group, "", (), is_told=False)
    statuses: list[QueueStatus] = []
    letters: dict[str, int] = {}
    with _noting("members of the group", unseen):
        members = admin.group(group, timeout=timeout)
    with _noting("what waits", unseen):
        statuses = list(admin.queue_status(sources, group=group, timeout=timeout))
    with _noting("dead letters", unseen):
        letters = {
            queue: sum(1 for _ in admin.dead_letters(queue, timeout=timeout))
            for queue in admin.dead_letter_queues(timeout=timeout)
        }
    logs: Sequence[TopicStatus] = ()
    owners: GroupStatus | None = None
    seen: TimersSeen | None = None
    with _noting("the logs", unseen):
        logs = admin.log_topics((revocation.LOG, LOG), timeout=timeout)
    with _noting("who sends what waits for its time", unseen):
        owners = admin.group(GROUP, timeout=timeout)
    with _noting("what waits for its time", unseen):
        seen = _timers(app, clock)
    ours = our_queues(needed, prefix=settings.prefix, topics=topics, group=members)
    asked = [source for source in sources if queue_of_source(source) in ours]
    held: list[HeldPartition] = []
    with _noting("open transactions", unseen):
        seen_topics = [
            each.topic for each in topics if each.partitions and queue_of_source(each.queue) in ours
        ]
        seen_topics += [each.topic for each in logs if each.partitions]
        held += held_up(admin, seen_topics, clock, timeout)
    schedules: list[SchedulesSeen] = []
    with suppress(PermissionError):  # who has no schedules need not be allowed to see them
        schedules = _schedules(app, clock)
        held += held_up(admin, [settings.prefix + SCHEDULES], clock, timeout)
    rights = admin.rights(asked, group=group, timeout=timeout)
    return Facts(
        address=str(app.broker.address),
        session_timeout=settings.session_timeout,
        auto_create=settings.auto_create,
        group_protocol=settings.group_protocol,
        cluster=cluster,
        group=members,
        needed=needed,
        ours=ours,
        topics=topics,
        queues=statuses,
        dead_letters=letters,
        rights=rights,
        logs=logs,
        owners=owners,
        timers=seen,
        schedules=schedules,
        held=held,
        now_ms=unix_ms(clock),
        unseen=unseen,
        stamps=(first, _stamp(admin, clock, timeout)),
    )


def _timers(app: App, clock: Clock) -> TimersSeen:
    waiting = read_waiting(app.broker.logs.read(LOG, timeout=app.settings.connect_timeout)).timers
    if not waiting:
        return TimersSeen(0, None)
    return TimersSeen(len(waiting), clock.time() - waiting[0].due_ms / 1000)


def _schedules(app: App, clock: Clock) -> list[SchedulesSeen]:
    timeout = app.settings.connect_timeout
    shelves = read_shelves(app.broker.logs.read(SCHEDULES, timeout=timeout))
    found = schedules_seen(views(shelves.values(), clock.now()))
    return [replace(seen, has_beat=_has_beat(app, seen.namespace)) for seen in found]


def _has_beat(app: App, namespace: str) -> bool | None:
    """Return whether a beat of a namespace runs; None where that cannot be told, or not to us."""
    with suppress(PermissionError):
        return has_beat(app, namespace)
    return None


@contextmanager
def _noting(what: str, unseen: list[str]) -> Iterator[None]:
    """Note what this user may not look at, and go on."""
    try:
        yield
    except PermissionError:
        unseen.append(what)


def _stamp(admin: Admin, clock: Clock, timeout: float) -> Stamp:
    asked_ms = unix_ms(clock)
    newest_ms = admin.newest_commit_ms(timeout=timeout)
    return Stamp(asked_ms, unix_ms(clock) + 1, newest_ms)


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level.value,
        "subject": finding.subject,
        "finding": finding.finding,
        "meaning": finding.meaning or None,
        "advice": finding.advice or None,
    }


def _print(findings: Iterable[Finding]) -> None:
    found = list(findings)
    print_table(
        [
            {"level": each.level.value, "subject": each.subject, "finding": each.finding}
            for each in found
        ],
        ("level", "subject", "finding"),
    )
    for each in found:
        if each.meaning:
            click.echo(escaped(f"\n{each.level.value}: {each.subject}: {each.finding}", keep="\n"))
            click.echo(escaped(f"  {each.meaning}"))
        if each.advice:
            click.echo(escaped(f"  -> {each.advice}"))
    notes, problems = (
        sum(each.level is level for each in found) for level in (Level.NOTE, Level.PROBLEM)
    )
    click.echo(f"\n{counted(problems, 'problem')}, {counted(notes, 'note')}")


def _print_rights(app: App, invocation: Invocation) -> None:
    settings = app.settings
    rights = needed_rights(
        sorted(needed_sources(app), key=highest_first),
        prefix=settings.prefix,
        group=settings.group,
        auto_create=settings.auto_create,
    )
    rows = [
        {
            "command": right.command,
            "resource": right.kind,
            "name": right.name,
            "pattern": "prefixed" if right.is_prefix else "literal",
            "operations": list(right.operations),
            "optional": right.is_optional,
            "use": right.use,
        }
        for right in rights
    ]
    if invocation.json:
        print_json(rows)
        return
    columns: Sequence[str] = ("command", "resource", "name", "pattern", "operations", "use")
    print_table(
        [{**row, "use": f"{row['use']}{' (optional)' if row['optional'] else ''}"} for row in rows],
        columns,
    )
