"""`taskq timers list`, `taskq revoke`, and what `taskq find` knows of both, on an app with a fake broker."""

from __future__ import annotations

import pytest

from taskq.protocols import GroupMember, GroupStatus, Outgoing, StoredDeadLetter
from taskq.timing.revocation import revoked_write
from taskq.timing.timers import timer_write
from tests.support.clock import START
from tests.support.fake_broker import FakeBroker
from tests.unit.taskq.cli.conftest import Taskq

DUE_MS = 4_102_477_200_000  # 2100-01-01T09:00:00Z
OVERDUE = "2026-11-23T17:00:00Z"
KEEPER = GroupMember("m-1", "host-1", "10.0.0.1", {})


def wait_for(broker: FakeBroker, id: str, due_ms: int = DUE_MS, task: bytes = b"invoice") -> None:
    message = Outgoing("billing", b"[]", [("task", task), ("id", id.encode())])
    broker.logs.written.append(timer_write(message, task_id=id, due_ms=due_ms))


def test_what_waits_is_listed_with_the_next_due_first_and_counted_by_task(
    taskq: Taskq, broker: FakeBroker
) -> None:
    for id, later, task in (("c", 2, b"mail"), ("a", 0, b"mail"), ("b", 1, b"invoice")):
        wait_for(broker, id, DUE_MS + later, task)

    run = taskq("timers", "list")
    document = taskq("timers", "list", "--json", "--limit", "1")

    assert [line.split()[1] for line in run.out.splitlines()] == ["ID", "a", "b", "c"]
    assert "3 tasks wait: mail 2, invoice 1" in run.err
    assert document.json == [
        {
            "id": "a",
            "task": "mail",
            "queue": "billing",
            "due": "2100-01-01T09:00:00Z",
            "overdue": None,
        }
    ]


def test_what_is_overdue_is_marked_and_who_is_missing_is_told(
    taskq: Taskq, broker: FakeBroker
) -> None:
    wait_for(broker, "late", int(START.timestamp() * 1000))
    wait_for(broker, "later")

    run = taskq("timers", "list")
    document = taskq("timers", "list", "--json").json

    assert f"{OVERDUE} (overdue " in run.out.splitlines()[1]
    assert "overdue" not in run.out.splitlines()[2]
    assert "overdue; no worker or beat keeps the time: start one" in run.err
    assert [row["overdue"] is None for row in document] == [False, True]


def test_where_somebody_keeps_the_time_only_what_is_overdue_is_told(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.members = GroupStatus("taskq-timers", "consumer", (KEEPER,))
    wait_for(broker, "later")
    in_time = taskq("timers", "list").err
    wait_for(broker, "late", int(START.timestamp() * 1000))

    late = taskq("timers", "list").err

    assert "keeps the time" not in in_time
    assert "overdue; a process keeps the time" in late


def test_find_marks_what_is_overdue_and_says_who_is_missing(
    taskq: Taskq, broker: FakeBroker
) -> None:
    wait_for(broker, "late", int(START.timestamp() * 1000))

    alone = taskq("find", "late").out
    broker.admin.members = GroupStatus("taskq-timers", "consumer", (KEEPER,))
    kept = taskq("find", "late").out

    assert alone.startswith(f"state: delayed until {OVERDUE}, overdue ")
    assert "no worker or beat keeps the time: start one" in alone
    assert "though its time has come; a process keeps the time" in kept


def test_nothing_that_waits_is_no_failure(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("timers", "list")

    assert (run.code, run.out) == (0, "")
    assert "no task waits for its time" in run.err
    assert taskq("timers", "list", "--json").json == []


def test_revoke_says_what_it_has_cancelled_and_what_it_does_not_know(
    taskq: Taskq, broker: FakeBroker
) -> None:
    wait_for(broker, "mine")

    run = taskq("revoke", "mine", "unknown", "mine")

    assert run.code == 0
    assert run.out.splitlines() == [
        "revoked mine: it waited until 2100-01-01T09:00:00Z, which is cancelled",
        "revoked unknown: no timer of it waits",
    ]
    assert "no worker will begin it for a day" in run.err
    assert [each.key for each in broker.logs.written[1:]] == [
        b"mine",
        b"unknown",
        b"mine/cancel",
        b"unknown/cancel",
    ]


def test_revoke_says_that_it_ends_what_runs(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("revoke", "--terminate", "x")
    document = taskq("revoke", "y", "--terminate", "--json").json

    assert run.out == "revoked x: no timer of it waits; a worker that runs it ends it\n"
    assert document == [{"id": "y", "due": [], "terminate": True}]
    revoked = [each for each in broker.logs.written if each.log == "taskq.revoked"]
    assert [b'"terminate": true' in (each.value or b"") for each in revoked] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "missing argument"),
        (("",), "no task's id"),
        (("a\nb",), "no task's id"),
        (("--terminat", "x"), "did you mean '--terminate'"),
        (("-b", "memory://", "x"), "memory://"),
    ],
)
def test_what_cannot_be_revoked_is_refused(
    taskq: Taskq, broker: FakeBroker, arguments: tuple[str, ...], told: str
) -> None:
    run = taskq("revoke", *arguments)

    assert run.code == 2
    assert told in run.err
    assert not broker.logs.written


def test_find_knows_what_is_delayed(taskq: Taskq, broker: FakeBroker) -> None:
    wait_for(broker, "mine")

    run = taskq("find", "mine")
    document = taskq("find", "mine", "--json").json

    assert run.out.startswith("state: delayed until 2100-01-01T09:00:00Z\ntask: invoice\n")
    assert (document["state"], document["due"]) == ("delayed", "2100-01-01T09:00:00Z")


def test_find_says_that_what_is_revoked_may_have_run_before(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.logs.now_ms = 4_102_444_800_000  # as fresh as can be
    broker.logs.written.append(revoked_write("mine", START))

    run = taskq("find", "mine")

    assert run.code == 0
    assert run.out.startswith("state: revoked\n")
    assert "it may have run before that, or may never have been sent" in run.out
    assert "Searched: 0 waiting records" in run.out


@pytest.mark.parametrize(
    "command",
    [("queues",), ("dlq", "list"), ("find", "x"), ("workers",), ("topics", "list"), ("doctor",)],
)
def test_commands_refuse_a_broker_that_is_theirs_alone(
    taskq: Taskq, command: tuple[str, ...]
) -> None:
    run = taskq(*command, "-b", "memory://")

    assert run.code == 2
    assert "lives in this process alone" in run.err


def test_letters_of_what_could_not_be_fired_are_printed(taskq: Taskq, broker: FakeBroker) -> None:
    headers = (("dlq-id", b"mine"), ("dlq-reason", b"refused"))
    broker.admin.stored = [StoredDeadLetter("taskq.timers/3/7", "taskq.timers", b"[]", headers)]

    [row] = taskq("dlq", "list", "taskq.timers", "--json").json

    assert (row["id"], row["reason"], row["source"]) == ("mine", "refused", "taskq.timers/3/7")
    assert taskq("dlq", "show", "mine").code == 0
