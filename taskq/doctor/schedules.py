"""Schedules that beats have loaded: how many are in force, and whether anybody is there to send what is due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from taskq.doctor.facts import Facts, SchedulesSeen
from taskq.doctor.findings import Finding, note, ok, problem
from taskq.printing import age, counted
from taskq.scheduling.scheduleview import ScheduleView

_IN_FORCE = ("active", "overdue")


def schedules_seen(views: Iterable[ScheduleView]) -> list[SchedulesSeen]:
    """Return what is to be known of each namespace, by name; who runs there is asked later."""
    by_namespace: dict[str, list[ScheduleView]] = {}
    for view in views:
        by_namespace.setdefault(view.name.partition("/")[0], []).append(view)
    return [_seen(namespace, found) for namespace, found in sorted(by_namespace.items())]


def _seen(namespace: str, views: list[ScheduleView]) -> SchedulesSeen:
    overdue = [view for view in views if view.state == "overdue"]
    return SchedulesSeen(
        namespace,
        in_force=sum(view.state in _IN_FORCE for view in views),
        overdue=len(overdue),
        overdue_seconds=max((view.lateness or 0.0 for view in overdue), default=0.0),
        unreadable=sum(view.state == "unreadable" for view in views),
    )


def schedules(facts: Facts) -> Iterator[Finding]:
    """Look at what is in force, and who would send it."""
    for seen in facts.schedules:
        yield _finding(seen)


def _finding(seen: SchedulesSeen) -> Finding:
    subject = f"schedules of {seen.namespace}"
    told = f"{seen.in_force:,} in force"
    start = f"Start one with what it loads: 'taskq beat -A MODULE -s FILE --namespace {seen.namespace}'."
    if seen.overdue:
        told += f", {seen.overdue:,} overdue, the first for {age(seen.overdue_seconds)}"
    if seen.in_force and seen.has_beat is False:
        meaning = "Nothing of them is sent until one runs; what it then sends of what was missed, each schedule's catch_up says."
        return problem(subject, f"{told}; no beat of this namespace runs", meaning, start)
    if seen.overdue:
        runs = "" if seen.has_beat is None else ", though a beat of this namespace runs"
        return problem(
            subject,
            f"{told}{runs}",
            "No beat sends them: it cannot write, takes over just now, or its clock is behind this machine's.",
            "Look at the log of the beats, and at their machines' clocks; 'taskq schedule list' prints which are overdue.",
        )
    if seen.unreadable:
        return note(
            subject,
            f"{told}; {counted(seen.unreadable, 'schedule')} cannot be used",
            "Nothing of these is sent.",
            "'taskq schedule list' says why.",
        )
    return ok(subject, told)
