"""`taskq find`: where a task is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from taskq.app import App
from taskq.cli.asking import admin_of, needed_queues
from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_json
from taskq.cli.timekeeping import START_ONE, is_time_kept, overdue_seconds
from taskq.clock import SystemClock, unix_ms
from taskq.clues import MARGIN_MS, Clue, read_clue, recognizer
from taskq.errors import TaskqError
from taskq.instants import write_instant
from taskq.letters.deadletters import DeadLetterView, read_dead_letter
from taskq.message import identify
from taskq.printing import age, counted, escaped
from taskq.protocols import Admin, FoundRecord, GroupStatus
from taskq.timing import revocation, timers
from taskq.timing.revocation import Revocations
from taskq.waiting import WaitingTimer, read_waiting
from taskq_kafka.steps import queue_of_source

_FAILED = 1


@dataclass(slots=True)
class _Findings:
    """What was found of a task, and how far was looked."""

    records: Sequence[FoundRecord] = ()
    letters: Sequence[DeadLetterView] = ()
    timers: Sequence[WaitingTimer] = ()
    revoked_ms: int | None = None
    """When it was revoked, if that counts still."""

    looked: list[str] = field(default_factory=list)
    """What was searched, in words."""

    @property
    def waiting(self) -> FoundRecord | None:
        """The record that stands there and nobody has claimed; the last of several."""
        unclaimed = (each for each in reversed(self.records) if not each.is_claimed)
        return next((each for each in unclaimed if each.record is not None), None)


@click.command(cls=TaskqCommand, data=True)
@click.argument("id")
@pass_invocation
@click.pass_context
def find(ctx: click.Context, invocation: Invocation, id: str) -> None:
    """Say where the task with ID is: it waits, was claimed, is a dead letter, or is unknown (exit code 1).

    ID may also be QUEUE/PARTITION/OFFSET of its record. An id that taskq or a schedule made tells its time, so finished
    tasks are found, too; for any other all waiting records and dead letters are searched.
    """
    app = invocation.app()
    timeout, group = app.settings.connect_timeout, app.settings.group
    clue = read_clue(id)
    with admin_of(app) as admin:
        found = _search(app, admin, id, clue)
        workers = admin.group(group, timeout=timeout) if found.waiting is not None else None
        is_kept = not found.timers or is_time_kept(app)
    document = _document(id, found, workers)
    if invocation.json:
        print_json(document)
        if document["state"] == "unknown":
            ctx.exit(_FAILED)
    elif document["state"] == "unknown":
        raise TaskqError(
            f"no task has the id {id!r}; searched: {'; '.join(found.looked)}{_limits(clue)}"
        )
    else:
        _print(document, is_told=workers is None or workers.is_told, is_kept=is_kept)


def _limits(clue: Clue) -> str:
    """Return, for an id that tells nothing, what the search cannot know."""
    if clue.place is not None or clue.made_ms is not None:
        return ""
    return ". A task that has finished is found by its id only if taskq or a schedule made the id"


def _search(app: App, admin: Admin, id: str, clue: Clue) -> _Findings:
    found = _Findings()
    timeout, group = app.settings.connect_timeout, app.settings.group
    queues = sorted({*admin.sources(timeout=timeout), *needed_queues(app)})
    if clue.place is not None:
        at = None
        if clue.place[0] in queues:
            at = admin.record_at(*clue.place, group=group, timeout=timeout)
        found.records = () if at is None else (at,)
        found.looked.append(f"the record {id}")
    elif clue.made_ms is not None:
        since_ms, until_ms = clue.made_ms - MARGIN_MS, clue.made_ms + MARGIN_MS
        _look(app, admin, queues, id, found, (since_ms, until_ms))
    if clue.place is None and not found.records:
        # Also for an id with a time: a task that was sent again, or late, keeps its first id.
        _look(app, admin, queues, id, found, (None, None))
    if clue.place is None:
        _look_at_logs(app, id, found)
    if found.waiting is None and not found.timers:
        _look_at_letters(app, admin, id, found)
    return found


def _look(
    app: App,
    admin: Admin,
    queues: Sequence[str],
    id: str,
    found: _Findings,
    span: tuple[int | None, int | None],
) -> None:
    since_ms, until_ms = span
    answer = admin.find_records(
        queues,
        recognizer(id),
        group=app.settings.group,
        since_ms=since_ms,
        until_ms=until_ms,
        timeout=app.settings.connect_timeout,
    )
    found.records = answer.records
    where = f"in {counted(len(set(map(queue_of_source, queues))), 'queue')}"
    if since_ms is None or until_ms is None:
        found.looked.append(f"{counted(answer.searched, 'waiting record')} {where}")
    else:
        times = f"{_time(since_ms)} to {_time(until_ms)}"
        found.looked.append(f"{counted(answer.searched, 'record')} {where} sent from {times}")


def _look_at_logs(app: App, id: str, found: _Findings) -> None:
    logs, timeout, route = app.broker.logs, app.settings.connect_timeout, id.encode()
    found.timers = read_waiting(logs.read(timers.LOG, route=route, timeout=timeout)).of(id)
    found.looked.append("the timers")
    now_ms = unix_ms(SystemClock())
    revoked = Revocations()
    for record in logs.read(revocation.LOG, route=route, timeout=timeout):
        if revoked.apply(record, now_ms) and id in revoked and record.key == route:
            found.revoked_ms = record.timestamp_ms
    found.looked.append("the revoked tasks")


def _look_at_letters(app: App, admin: Admin, id: str, found: _Findings) -> None:
    timeout = app.settings.connect_timeout
    letters = [
        read_dead_letter(letter)
        for queue in admin.dead_letter_queues(timeout=timeout)
        for letter in admin.dead_letters(queue, timeout=timeout)
    ]
    found.looked.append(counted(len(letters), "dead letter"))
    found.letters = [view for view in letters if id in (view.id, view.source)]


def _document(id: str, found: _Findings, workers: GroupStatus | None) -> dict[str, Any]:
    """Return what is known of a task, under the names that `--json` prints."""
    document: dict[str, Any] = {"id": id, "state": "unknown", "task": None, "queue": None}
    document["topic"] = None
    document |= dict.fromkeys(
        (
            "partition",
            "offset",
            "ahead",
            "worker",
            "sent_at",
            "due",
            "overdue",
            "reason",
            "error",
            "failed_at",
        )
    )
    document["revoked_at"] = None if found.revoked_ms is None else _time(found.revoked_ms)
    document["searched"] = list(found.looked)
    record = found.waiting or (found.records[-1] if found.records else None)
    if record is not None:
        document |= _place(record)
    if found.waiting is not None:
        document["state"] = "waiting"
        document["ahead"] = found.waiting.ahead
        document["worker"] = _holder(found.waiting, workers)
    elif found.timers:
        document |= _delayed(found.timers[0])
    elif found.letters:
        document |= _letter(found.letters[-1])
    elif record is not None:
        # Deleted and not claimed: by a purge, or by the topic's retention.
        document["state"] = "claimed" if record.is_claimed else "deleted"
    elif found.revoked_ms is not None:
        document["state"] = "revoked"
    return document


def _place(at: FoundRecord) -> dict[str, Any]:
    document = {**_source(at.queue), "partition": at.partition, "offset": at.offset}
    if at.record is None:
        return document
    envelope = identify(at.record)
    if at.record.timestamp_ms > 0:
        document["sent_at"] = _time(at.record.timestamp_ms)
    return {**document, "task": None if envelope is None else envelope.task or None}


def _source(source: str) -> dict[str, Any]:
    """Return the queue of a record, and which of its topics it stands in (without prefix): QUEUE, or QUEUE.pN."""
    return {"queue": queue_of_source(source), "topic": source}


def _delayed(timer: WaitingTimer) -> dict[str, Any]:
    return {
        "state": "delayed",
        "task": timer.task or None,
        "queue": timer.queue,
        "partition": None,
        "offset": None,
        "due": _time(timer.due_ms),
        "overdue": overdue_seconds(timer.due_ms),
    }


def _letter(view: DeadLetterView) -> dict[str, Any]:
    source, partition, offset = read_clue(view.source).place or (view.queue, None, None)
    return {
        "state": "dead letter",
        "task": view.task,
        **_source(source),
        "partition": partition,
        "offset": offset,
        "reason": view.reason,
        "error": view.error,
        "failed_at": view.failed_at,
    }


def _holder(at: FoundRecord, workers: GroupStatus | None) -> str | None:
    for member in () if workers is None else workers.members:
        if at.partition in member.holds.get(at.queue, ()):
            return f"{member.name} ({member.host})"
    return None


def _time(milliseconds: int) -> str:
    return write_instant(timers.instant_of(milliseconds))


def _print(document: dict[str, Any], *, is_told: bool, is_kept: bool) -> None:
    lines = [f"state: {document['state']}"]
    if document["due"]:
        lines[0] += f" until {document['due']}"
    if document["overdue"] is not None:
        lines[0] += f", overdue {age(document['overdue'])}"
    if document["task"]:
        lines.append(f"task: {document['task']}")
    if document["partition"] is not None:
        partition, offset = document["partition"], document["offset"]
        topic = document["topic"]
        lines.append(f"record: queue {topic}, partition {partition}, offset {offset}")
    elif document["queue"]:
        lines.append(f"queue: {document['queue']}")
    if document["revoked_at"]:
        lines.append(f"revoked: {document['revoked_at']}")
    if document["sent_at"]:
        lines.append(f"sent: {document['sent_at']}")
    lines += [
        f"{name}: {document[name]}" for name in ("reason", "error", "failed_at") if document[name]
    ]
    lines.append(_meaning(document, is_told=is_told, is_kept=is_kept))
    for line in lines:
        click.echo(escaped(line))


def _meaning(document: dict[str, Any], *, is_told: bool, is_kept: bool) -> str:
    """Return in words what a state means and what can be done."""
    state = document["state"]
    if state == "revoked":
        return (
            "No record of it was found: it may have run before that, or may never have been sent. "
            f"A worker that meets it within a day of its revocation does not run it. Searched: {'; '.join(document['searched'])}."
        )
    if state == "delayed":
        return _is_delayed(document, is_kept=is_kept)
    if document["revoked_at"] and state == "waiting":
        return "It is revoked: the worker that meets it does not run it."
    if state == "waiting":
        return _waits(document, is_told=is_told)
    if state == "claimed" and document["revoked_at"]:
        return (
            "A worker has claimed it: it has run, or was left out because it was revoked by then; it will not run again. "
            "The worker's log says which."
        )
    if state == "claimed":
        return (
            "A worker has claimed it: it runs or has run, or was lost with its worker; it will not run again. "
            "The worker's log says which."
        )
    if state == "deleted":
        return "It was deleted before a worker claimed it (a purge, or the topic's retention): it will not run."
    return f"It failed for good; 'taskq dlq show {document['id']}' prints all of it."


def _is_delayed(document: dict[str, Any], *, is_kept: bool) -> str:
    if document["revoked_at"]:
        return "It waits among the timers and is revoked: it is taken out in a moment, or will not be run."
    if not is_kept:
        return f"It waits among the timers, and {START_ONE}. 'taskq revoke' cancels it."
    if document["overdue"] is not None:
        return "It waits among the timers though its time has come; a process keeps the time: see its log, and 'taskq doctor'."
    return "It waits among the timers; 'taskq revoke' cancels it. Workers and beats send it to its queue when it is due."


def _waits(document: dict[str, Any], *, is_told: bool) -> str:
    ahead = document["ahead"]
    before = (
        f"{counted(ahead, 'record')} of its partition before it"
        if ahead
        else "It is the next of its partition"
    )
    before = f"{before}." if not ahead else f"There {'is' if ahead == 1 else 'are'} {before}."
    if document["worker"]:
        return f"{before} The worker {document['worker']} holds the partition."
    if not is_told:
        return f"{before} This broker cannot tell which worker holds the partition."
    return f"{before} No worker holds the partition; start one with 'taskq worker -Q {document['queue']}'."
