"""The commands of operators, on an app with a fake broker."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from taskq.app import App
from taskq.cli.main import cli
from taskq.protocols import (
    ClusterStatus,
    FoundRecord,
    GroupMember,
    GroupStatus,
    QueueStatus,
    StoredDeadLetter,
    TopicStatus,
)
from taskq.timing.revocation import revoked_write
from taskq_kafka.records import Record
from tests.support.clock import START
from tests.support.fake_broker import FakeBroker
from tests.unit.taskq.cli.conftest import Taskq

WANTED = {"partitions": "12", "replication": "1", "retention.ms": "-1"}
WORKER = GroupMember("m-1", "host-1", "10.0.0.1", {"billing": [0, 1, 2, 3, 7]})
ID = "01a21661-cbad-7995-9933-f122eb8e9b78"
ID_MS = 0x01A21661CBAD


def topic(
    queue: str, partitions: int = 12, *, dead: bool = False, retention: str = "-1"
) -> TopicStatus:
    name = f"{queue}.dlq" if dead else queue
    own = {"retention.ms": retention} if partitions else {}
    return TopicStatus(queue, name, dead, partitions, 1 if partitions else 0, own, WANTED)


def record(id: str, *, claimed: bool = False, ahead: int = 0, sent_ms: int = ID_MS) -> FoundRecord:
    headers = [("task", b"invoice"), ("id", id.encode())]
    stored = Record("billing", 3, 17, sent_ms, None, b"[]", headers)
    return FoundRecord("billing", 3, 17, stored, claimed, ahead)


def letter(id: str, source: str = "billing/3/17") -> StoredDeadLetter:
    headers = (
        ("dlq-id", id.encode()),
        ("dlq-task", b"invoice"),
        ("dlq-reason", b"failed"),
        ("dlq-error", b"ValueError: \x1b[2J"),
    )
    return StoredDeadLetter(source, "billing", b"[]", headers)


# topics


def test_topics_are_listed_with_what_is_missing_and_what_differs(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.topic_statuses = [
        topic("billing", retention="604800000"),
        topic("billing", 0, dead=True),
        topic("taskq"),
    ]

    run = taskq("topics", "list", "--json")

    differs, missing, fine = run.json
    assert (differs["topic"], differs["state"]) == ("billing", "differs")
    assert differs["differences"] == {"retention.ms": {"is": "604800000", "wanted": "-1"}}
    assert (missing["topic"], missing["state"]) == ("billing.dlq", "missing")
    assert (fine["state"], fine["differences"]) == ("ok", {})
    assert "retention.ms=604800000 (taskq makes -1)" in taskq("topics", "list").out
    assert broker.admin.created == []


def test_plan_tells_what_apply_makes_and_makes_nothing(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.topic_statuses = [topic("billing", 0), topic("billing", 0, dead=True)]

    planned = taskq("topics", "plan")
    assert broker.admin.created == []
    applied = taskq("topics", "apply")

    assert planned.out.startswith("would make billing (partitions=12, replication=1")
    assert applied.out == planned.out.replace("would make", "made")
    assert broker.admin.created == ["billing", "billing.dlq"]


def test_apply_leaves_existing_topics_and_names_those_that_differ(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.topic_statuses = [topic("billing", 4)]

    run = taskq("topics", "apply")

    assert broker.admin.created == []
    assert "is used as it is: partitions=4 (taskq makes 12)" in run.out
    assert "nothing to make" in run.out


def test_topics_of_further_queues_are_planned_by_name(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.topic_statuses = [topic("reports", 0)]

    assert taskq("topics", "plan", "--json").json == []
    [row] = taskq("topics", "plan", "reports", "--json").json
    assert (row["topic"], row["state"]) == ("reports", "missing")


def test_apply_makes_for_a_named_queue_what_it_needs_and_nothing_else(
    taskq: Taskq, broker: FakeBroker, app: App
) -> None:
    app.task("urgent", queue="reports", priority=9)(lambda: None)
    step = replace(topic("reports", 0), topic="reports.p9", queue="reports.p9")
    broker.admin.statuses = [QueueStatus("shop", 12, 0, None, 0)]
    broker.admin.topic_statuses = [
        *(topic("shop"), topic("shop", 0, dead=True)),
        *(topic("reports", 0), step, topic("reports", 0, dead=True)),
    ]
    broker.admin.log_statuses = [replace(topic("taskq.revoked", 0), is_log=True)]

    listed = taskq("topics", "list", "reports", "--json").json
    made = taskq("topics", "apply", "reports", "--json").json

    topics = ["reports", "reports.p9", "reports.dlq"]
    assert [row["topic"] for row in listed] == topics
    assert [row["topic"] for row in made] == topics
    assert broker.admin.created == topics


def test_a_queue_that_cannot_be_is_refused(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("topics", "apply", "no spaces")

    assert (run.code, run.out) == (2, "")
    assert "' ' is not allowed" in run.err


# workers


def test_workers_are_listed_with_what_they_hold(taskq: Taskq, broker: FakeBroker) -> None:
    idle = GroupMember("m-2", "host-2", "10.0.0.2", {})
    broker.admin.members = GroupStatus("taskq", "consumer", (WORKER, idle))

    run = taskq("workers", "--json")

    assert run.json == [
        {
            "name": "host-1",
            "host": "10.0.0.1",
            "protocol": "consumer",
            "queues": {"billing": [0, 1, 2, 3, 7]},
            "member": "m-1",
        },
        {
            "name": "host-2",
            "host": "10.0.0.2",
            "protocol": "consumer",
            "queues": {},
            "member": "m-2",
        },
    ]
    lines = taskq("workers").out.splitlines()
    assert lines[1].split() == ["host-1", "10.0.0.1", "consumer", "billing", "0-3,", "7"]
    assert lines[2].split() == ["host-2", "10.0.0.2", "consumer", "-", "none"]


def test_an_empty_group_is_said_beside_the_data(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("workers", "--json")

    assert (run.code, run.json) == (0, [])
    assert "no worker is in the group 'taskq'" in run.err


def test_a_broker_that_cannot_tell_members_is_not_taken_for_an_empty_group(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.members = GroupStatus("taskq", "", (), is_told=False)

    assert "cannot tell" in taskq("workers").err


# find


def test_a_waiting_task_is_found_with_who_holds_its_partition(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.records = [record(ID, ahead=4)]
    broker.admin.members = GroupStatus(
        "taskq", "consumer", (GroupMember("m", "w", "h", {"billing": [3]}),)
    )

    found = taskq("find", ID, "--json").json

    assert {name: found[name] for name in ("state", "task", "queue", "partition", "offset")} == {
        "state": "waiting",
        "task": "invoice",
        "queue": "billing",
        "partition": 3,
        "offset": 17,
    }
    assert (found["ahead"], found["worker"]) == (4, "w (h)")
    told = taskq("find", ID).out
    assert "There are 4 records of its partition before it. The worker w (h) holds" in told


def test_a_waiting_task_that_nobody_holds_says_so(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.records = [record("mine")]

    run = taskq("find", "mine")

    assert run.code == 0
    assert "No worker holds the partition; start one with 'taskq worker -Q billing'" in run.out
    assert taskq("find", "mine", "--json").json["worker"] is None


def test_a_claimed_task_is_found_by_the_time_in_its_id(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.records = [record(ID, claimed=True)]

    run = taskq("find", ID, "--json")

    assert (run.code, run.json["state"]) == (0, "claimed")
    assert broker.admin.searches == [(ID_MS - 60_000, ID_MS + 60_000)]
    assert "will not run again" in taskq("find", ID).out


def test_an_occurrence_is_found_by_its_time(taskq: Taskq, broker: FakeBroker) -> None:
    id = "jobs/1@2026-11-23T17:00:00Z"
    broker.admin.records = [record(id, claimed=True, sent_ms=1_795_453_200_000 + 500)]

    assert taskq("find", id, "--json").json["state"] == "claimed"


def test_a_task_that_was_sent_long_after_its_id_was_made_is_found_while_it_waits(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.records = [record(ID, sent_ms=ID_MS + 3_600_000)]

    assert taskq("find", ID, "--json").json["state"] == "waiting"
    assert len(broker.admin.searches) == 2


def test_a_dead_letter_is_found_with_its_reason(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.records = [record(ID, claimed=True)]
    broker.admin.stored = [letter(ID)]

    found = taskq("find", ID, "--json").json

    assert (found["state"], found["reason"], found["offset"]) == ("dead letter", "failed", 17)
    told = taskq("find", ID).out
    assert "reason: failed" in told
    assert "taskq dlq show" in told
    assert "\x1b" not in told


def test_a_waiting_task_is_more_than_an_old_letter_of_it(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.records = [record(ID)]
    broker.admin.stored = [letter(ID, "billing/3/1")]

    assert taskq("find", ID, "--json").json["state"] == "waiting"


def test_a_record_is_found_by_its_place(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.records = [record("mine", claimed=True)]

    assert taskq("find", "billing/3/17", "--json").json["state"] == "claimed"
    assert broker.admin.searches == []


def test_a_claimed_task_that_is_revoked_may_have_been_left_out(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.records = [record(ID, claimed=True)]
    broker.logs.now_ms = 4_102_444_800_000  # as fresh as can be
    broker.logs.written.append(revoked_write(ID, START))

    run = taskq("find", ID)

    assert run.out.startswith("state: claimed\n")
    assert "it has run, or was left out because it was revoked by then" in run.out


def test_a_deleted_record_that_nobody_claimed_will_not_run(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.records = [FoundRecord("billing", 3, 17, None, is_claimed=False, ahead=0)]

    assert taskq("find", "billing/3/17", "--json").json["state"] == "deleted"
    assert "will not run" in taskq("find", "billing/3/17").out


def test_an_unknown_id_is_a_failure_that_says_what_was_searched(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.records = [record("other")]
    broker.admin.stored = [letter("another")]

    run = taskq("find", "mine")
    document = taskq("find", "mine", "--json")

    assert (run.code, run.out, run.err.count("\n")) == (1, "", 1)
    searched = ["1 waiting record in 2 queues", "the timers", "the revoked tasks", "1 dead letter"]
    assert "; ".join(searched) in run.err
    assert (document.code, document.json["state"]) == (1, "unknown")
    assert document.json["searched"] == searched


# purge


def test_purge_deletes_and_says_what_workers_still_run(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.statuses = [QueueStatus("billing", 12, 7, 1.0, 2)]

    run = taskq("purge", "billing", "--yes")

    assert (run.code, run.out) == (0, "deleted 7 waiting tasks of queue billing\n")
    assert "they still run" in run.err
    assert broker.admin.purged == ["billing"]
    assert taskq("purge", "billing", "--yes", "--json").json == {"queue": "billing", "deleted": 7}


def test_purge_demands_yes_where_nobody_can_be_asked(
    taskq: Taskq, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.admin.statuses = [QueueStatus("billing", 12, 7, 1.0, 0)]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)

    run = taskq("purge", "billing")

    assert (run.code, run.out, broker.admin.purged) == (2, "", [])
    assert "--yes" in run.err


@pytest.mark.parametrize(("answer", "code", "purged"), [("y", 0, ["billing"]), ("n", 1, [])])
def test_purge_asks_on_a_terminal(
    taskq: Taskq,
    broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    purged: list[str],
) -> None:
    broker.admin.statuses = [QueueStatus("billing", 12, 7, 1.0, 0)]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: answer)

    run = taskq("purge", "billing")

    assert (run.code, broker.admin.purged) == (code, purged)


def test_purge_of_an_unknown_queue_offers_the_nearest(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.statuses = [QueueStatus("billing", 12, 7, 1.0, 0)]

    run = taskq("purge", "biling", "--yes")

    assert (run.code, broker.admin.purged) == (1, [])
    assert "did you mean 'billing'?" in run.err


# doctor


def test_doctor_without_problems_ends_well(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("doctor", "--json")

    assert run.code == 0
    assert {row["level"] for row in run.json} <= {"ok", "note"}
    assert list(run.json[0]) == ["level", "subject", "finding", "meaning", "advice"]


def test_doctor_fails_with_a_problem_and_says_what_to_do(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.topic_statuses = [topic("billing", retention="604800000")]
    broker.admin.cluster_status = ClusterStatus(1, {"authorizer.class.name": ""}, {})

    run = taskq("doctor")

    assert run.code == 1
    assert "problem: topic billing: retention.ms=604800000 (7d 0h)" in run.out
    assert "deleted and never run" in run.out
    assert "retention.ms=-1" in run.out
    assert "2 problems" in run.out  # and a broker that is older than 3.6


def test_doctor_prints_rights_without_a_broker(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.is_reachable = False

    run = taskq("doctor", "--acls", "--json")

    assert run.code == 0
    assert {row["name"] for row in run.json if row["command"] == "purge"} == {
        "billing",
        "taskq",
    }


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(taskq: Taskq, shell: str) -> None:
    run = taskq("completion", shell)

    assert (run.code, run.err) == (0, "")
    assert f"_TASKQ_COMPLETE={shell}_complete" in run.out


def test_completion_of_another_shell_is_refused(taskq: Taskq) -> None:
    run = taskq("completion", "powershell")

    assert (run.code, run.out) == (2, "")
    assert "'bash', 'zsh', 'fish'" in run.err


@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        ([], "work", ["worker", "workers"]),
        (["topics"], "p", ["plan"]),
        (["send"], "inv", ["invoice"]),
        (["call"], "old", ["old.invoice"]),
        (["send", "invoice", "--queue"], "", ["billing", "taskq"]),
        (["purge"], "b", ["billing"]),
        (["doctor"], "--ac", ["--acls"]),
    ],
)
def test_commands_tasks_and_queues_are_completed(
    taskq: Taskq, app: App, words: list[str], incomplete: str, found: list[str]
) -> None:
    from click.shell_completion import ShellComplete

    completer = ShellComplete(cli, {}, "taskq", "_TASKQ_COMPLETE")

    assert [item.value for item in completer.get_completions(words, incomplete)] == found


# tables


def test_a_terminal_gets_a_drawn_table_with_all_of_the_text(
    taskq: Taskq, broker: FakeBroker, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    broker.admin.stored = [letter("mine")]

    drawn = taskq("dlq", "list").out

    assert "─" in drawn
    assert "mine" in drawn
    assert "\x1b[2J" not in drawn


def test_a_narrow_terminal_is_told_which_columns_had_no_room(
    taskq: Taskq, broker: FakeBroker, terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    broker.admin.stored = [letter(ID)]

    run = taskq("dlq", "list")

    assert any(line.startswith(ID) for line in run.out.splitlines())
    assert "taskq: no room for " in run.err
    assert "FAILED AT: a wider terminal shows all, or --json" in run.err


def test_markup_in_foreign_text_is_not_obeyed(
    taskq: Taskq, broker: FakeBroker, terminal: None
) -> None:
    broker.admin.statuses = [QueueStatus("billing", 12, 7, 1.0, 2)]
    broker.admin.members = GroupStatus(
        "taskq", "consumer", (GroupMember("m", "[red]w[/red]", "h", {}),)
    )

    assert "[red]w[/red]" in taskq("workers").out


def test_json_is_the_same_on_a_terminal(taskq: Taskq, broker: FakeBroker, terminal: None) -> None:
    assert taskq("queues", "--json").json[0]["queue"] == "billing"
