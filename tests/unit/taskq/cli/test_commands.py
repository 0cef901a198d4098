from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from taskq.app import App
from taskq.attempts import NONE, Attempt, write_attempts
from taskq.protocols import GroupStatus, HeldPartition, QueueStatus, StoredDeadLetter
from tests.support.fake_broker import FakeBroker
from tests.unit.taskq.cli.conftest import Taskq


def letter(source: str, *, task_id: str = "id-1", reason: str = "failed") -> StoredDeadLetter:
    headers = (
        ("task", b"invoice"),
        ("dlq-id", task_id.encode()),
        ("dlq-task", b"invoice"),
        ("dlq-reason", reason.encode()),
        ("dlq-error", b"ValueError: no"),
        ("dlq-attempts", b"1"),
        ("dlq-failed", b"2026-11-23T17:00:00Z"),
        ("dlq-traceback", b"Traceback\n  line"),
    )
    return StoredDeadLetter(source, source.split("/")[0], b'[["ACME"], {}, {}]', headers)


# send


def test_send_prints_the_id_alone(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("send", "invoice", "-a", '["ACME"]', "-k", '{"amount": 3}')

    [message] = broker.sent
    assert (run.code, run.err) == (0, "")
    assert dict(message.headers)["id"].decode() == run.out.strip()
    assert message.queue == "billing"
    assert json.loads(message.value)[:2] == [["ACME"], {"amount": 3}]


def test_send_takes_options(taskq: Taskq, broker: FakeBroker) -> None:
    options = ("--queue", "q", "--key", "k", "--task-id", "mine", "--header", "a=b=c", "--json")

    run = taskq("call", "invoice", "-a", '["ACME"]', *options)

    [message] = broker.sent
    assert run.json == {"id": "mine", "task": "invoice", "queue": "q"}
    assert (message.key, dict(message.headers)["a"]) == (b"k", b"b=c")


def test_send_needs_no_app_to_know_the_task(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("send", "invoce")

    assert run.code == 0
    assert broker.sent[0].queue == "taskq"
    assert "did you mean 'invoice'?" in run.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("-a", "{}"),
        ("-a", "["),
        ("-k", "[]"),
        ("--header", "x"),
        ("--queue", "a b"),
        ("-a", "[1, 2, 3]"),
        (),
        ("--header", "eta=1", "-a", "[1]"),
        ("--task-id", "", "-a", "[1]"),
        ("--priority", "11", "-a", "[1]"),
        ("--priority", "-1", "-a", "[1]"),
        ("--priority", "high", "-a", "[1]"),
        ("--priority", "4.5", "-a", "[1]"),
        ("--countdown", "soon", "-a", "[1]"),
        ("--countdown", "-1", "-a", "[1]"),
        ("--countdown", "nan", "-a", "[1]"),
        ("--countdown", "1e20", "-a", "[1]"),
        ("--eta", "2026-11-23T17:00:00", "-a", "[1]"),
        ("--eta", "tomorrow", "-a", "[1]"),
        ("--expires", "never", "-a", "[1]"),
        ("--countdown", "1", "--eta", "2026-11-23T17:00:00Z", "-a", "[1]"),
    ],
)
def test_send_refuses_what_does_not_fit(
    taskq: Taskq, broker: FakeBroker, arguments: tuple[str, ...]
) -> None:
    run = taskq("send", "invoice", *arguments)

    assert (run.code, run.out, run.err.count("\n")) == (2, "", 1)
    assert broker.sent == []


@pytest.mark.parametrize("command", [("send", "x"), ("queues",), ("dlq", "list")])
def test_without_a_broker_the_address_is_named(
    taskq: Taskq, broker: FakeBroker, command: tuple[str, ...]
) -> None:
    broker.admin.is_reachable = False

    run = taskq(*command)

    assert (run.code, run.out) == (3, "")
    assert "localhost:9092" in run.err
    assert "docker compose up" in run.err


def test_a_task_that_is_not_acknowledged_is_a_failure(taskq: Taskq, broker: FakeBroker) -> None:
    broker.publisher.fails = lambda message: TimeoutError("no answer")

    run = taskq("send", "invoice", "-a", "[1]")

    assert (run.code, run.out) == (1, "")
    assert "may have been sent" in run.err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--countdown", "1", "--eta", "2026-11-23T17:00:00Z"),
            "--countdown and --eta say the same in two ways; give one of them",
        ),
        (("--priority", "11"), "--priority must be a whole number from 0 to 9, 9 first, not 11"),
        (("--countdown", "-1"), "--countdown must be 0 or more seconds, not -1.0"),
        (("--task-id", "a\nb"), "--task-id must be printable text of at most "),
        (("--key", ""), "--key is empty, "),
    ],
)
def test_an_option_that_cannot_be_is_named_as_it_was_given(
    taskq: Taskq, broker: FakeBroker, options: tuple[str, ...], line: str
) -> None:
    run = taskq("send", "invoice", "-a", "[1]", *options)

    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"taskq: {line}")


# tasks, queues, config


def test_tasks_are_listed(taskq: Taskq, app: App) -> None:
    run = taskq("tasks", "--json")

    assert run.json == [
        {
            "name": "invoice",
            "aliases": ["old.invoice"],
            "queue": "billing",
            "module": "tests.unit.taskq.cli.conftest",
        }
    ]
    assert "old.invoice" in taskq("tasks").out


def test_queues_are_listed(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.statuses = [QueueStatus("a", 12, 3, 3725.5, 2), QueueStatus("b", 12, 0, None, 0)]

    run = taskq("queues", "--json")

    assert [row["queue"] for row in run.json] == ["a", "b", "billing", "taskq"]
    assert run.json[0] == {
        "queue": "a",
        "partitions": 12,
        "lag": 3,
        "oldest_age": 3725.5,
        "workers": 2,
        "held_up": [],
    }
    assert run.json[1]["oldest_age"] is None
    lines = taskq("queues").out.splitlines()
    assert lines[1].split()[:6] == ["a", "12", "3", "1h", "2m", "2"]
    assert lines[2].split()[:5] == ["b", "12", "0", "-", "0"]


def test_priority_steps_are_counted_with_their_queue_unless_each_is_asked_for(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.statuses = [QueueStatus("a", 12, 3, 5.0, 2), QueueStatus("a.p9", 12, 1, 9.0, 2)]

    whole = taskq("queues", "--json").json
    steps = taskq("queues", "--steps", "--json").json

    assert [(row["queue"], row["lag"]) for row in whole] == [("a", 4), ("billing", 0), ("taskq", 0)]
    assert (whole[0]["partitions"], whole[0]["oldest_age"], whole[0]["workers"]) == (12, 9.0, 2)
    assert [(row["queue"], row["lag"]) for row in steps][:2] == [("a.p9", 1), ("a", 3)]


def test_queues_that_the_app_needs_are_listed_before_they_exist(
    taskq: Taskq, broker: FakeBroker
) -> None:
    run = taskq("queues")

    assert [line.split() for line in run.out.splitlines()[1:]] == [
        ["billing", "0", "0", "-", "0"],
        ["taskq", "0", "0", "-", "0"],
    ]
    assert taskq("queues", "--json").json[0] == {
        "queue": "billing",
        "partitions": 0,
        "lag": 0,
        "oldest_age": None,
        "workers": 0,
        "held_up": [],
    }


def test_a_terminal_is_told_since_when_tasks_wait_without_a_worker(
    taskq: Taskq, broker: FakeBroker, terminal: None
) -> None:
    broker.admin.statuses = [QueueStatus("a", 12, 3, 60.0, 0), QueueStatus("b", 12, 0, None, 0)]

    lines = taskq("queues").out.splitlines()

    assert "no worker; the oldest has waited since 20" in lines[2]
    assert "no worker" not in lines[3]
    assert "does not exist yet" in lines[4]


def test_no_worker_is_missed_where_the_broker_cannot_tell_members(
    taskq: Taskq, broker: FakeBroker, terminal: None
) -> None:
    broker.admin.statuses = [QueueStatus("a", 12, 3, 60.0, 0)]
    broker.admin.members = GroupStatus("taskq", "", (), is_told=False)

    assert "no worker" not in taskq("queues").out


def test_workers_are_unknown_where_the_broker_cannot_tell_members(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.statuses = [QueueStatus("a", 12, 3, 60.0, 0)]
    broker.admin.members = GroupStatus("taskq", "", (), is_told=False)

    assert [row["workers"] for row in taskq("queues", "--json").json] == [None, None, None]
    assert taskq("queues").out.splitlines()[1].split() == ["a", "12", "3", "1m", "0s", "-"]


def test_queues_say_which_partitions_an_open_transaction_holds_up(
    taskq: Taskq, app: App, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.cli.heldup._LOOK_AGAIN", 0.0)
    monkeypatch.setenv("TASKQ_PREFIX", "p-")
    broker.admin.statuses = [QueueStatus("a", 4, 0, None, 2), QueueStatus("a.p9", 4, 0, None, 2)]
    broker.admin.held = [
        HeldPartition("p-a.p9", 3, offset=7, behind=2, since_ms=1_800_000_000_000),
        HeldPartition("p-a", 1, offset=0, behind=1, since_ms=None),
        HeldPartition("p-other", 1, offset=0, behind=1, since_ms=None),
    ]

    text = taskq("queues")
    whole = taskq("queues", "--json")
    steps = taskq("queues", "--json", "--steps")

    step = {
        "topic": "p-a.p9",
        "partition": 3,
        "offset": 7,
        "behind": 2,
        "since": "2027-01-15T08:00:00.000Z",
    }
    queue = {"topic": "p-a", "partition": 1, "offset": 0, "behind": 1, "since": None}
    assert {row["queue"]: row["held_up"] for row in whole.json}["a"] == [queue, step]
    assert [row["held_up"] for row in steps.json][:2] == [[step], [queue]]
    assert [line.partition(";")[0] for line in text.err.splitlines()] == [
        "taskq: topic p-a: an open transaction holds up partition 1 from offset 0 on",
        "taskq: topic p-a.p9: an open transaction holds up partition 3 from offset 7 on since 2027-01-15T08:00:00.000Z",
    ]
    assert whole.err == ""


def test_a_transaction_that_is_over_at_the_second_look_holds_up_nothing(
    taskq: Taskq, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [[HeldPartition("a", 1, 0, 1, None)], [HeldPartition("a", 1, 5, 1, None)]]
    monkeypatch.setattr("taskq.cli.heldup._LOOK_AGAIN", 0.0)
    monkeypatch.setattr(broker.admin, "held_up", lambda topics, timeout: looks.pop(0))
    broker.admin.statuses = [QueueStatus("a", 4, 0, None, 2)]

    run = taskq("queues")

    assert (run.err, looks) == ("", [])


def test_config_tells_where_values_came_from(
    taskq: Taskq, app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taskq.toml").write_text('group = "file"\n[kafka]\nsasl.password = "hidden"\n')
    monkeypatch.setenv("TASKQ_PREFIX", "p")
    app.configure(default_queue="code")

    run = taskq("config", "--json", "-b", "taskq://me:hidden@h:1")

    rows = {row["name"]: row for row in run.json}
    assert rows["group"]["source"] == f"file {tmp_path / 'taskq.toml'}"
    assert rows["prefix"]["source"] == "environment"
    assert rows["default_queue"]["source"] == "code"
    assert rows["broker"]["value"] == "taskq://me:***@h:1"
    assert rows["kafka.sasl.password"]["value"] == "***"
    assert "hidden" not in run.out


# dlq


def test_dead_letters_are_listed(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.stored = [letter("billing/3/17"), letter("other/0/1", reason="unreadable")]

    assert [row["queue"] for row in taskq("dlq", "list", "--json").json] == ["billing", "other"]
    [row] = taskq("--json", "dlq", "list", "billing").json
    assert row == {
        "id": "id-1",
        "task": "invoice",
        "queue": "billing",
        "reason": "failed",
        "error": "ValueError: no",
        "attempts": 1,
        "failed_at": "2026-11-23T17:00:00.000Z",
        "source": "billing/3/17",
    }
    assert "ValueError: no" in taskq("dlq", "list").out


@pytest.mark.parametrize(
    "arguments", [("id-1",), ("billing", "id-1"), ("billing/3/17",), ("billing", "billing/3/17")]
)
def test_a_dead_letter_is_shown_by_id_or_source(
    taskq: Taskq, broker: FakeBroker, arguments: tuple[str, ...]
) -> None:
    broker.admin.stored = [letter("billing/3/17"), letter("other/0/1", task_id="id-2")]

    run = taskq("dlq", "show", *arguments, "--json")

    assert run.json["source"] == "billing/3/17"
    assert run.json["value"] == '[["ACME"], {}, {}]'
    assert run.json["traceback"] == "Traceback\n  line"
    assert "Traceback\n  line" in taskq("dlq", "show", *arguments).out


def test_of_several_dead_letters_of_one_task_the_latest_is_shown(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.stored = [letter("billing/3/17"), letter("billing/3/20")]

    run = taskq("dlq", "show", "id-1", "--json")

    assert run.json["source"] == "billing/3/20"
    assert "billing/3/17" in run.err


def test_a_dead_letter_that_is_not_there_is_a_failure(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("dlq", "show", "nothing")

    assert (run.code, run.out) == (1, "")
    assert "'nothing'" in run.err


def test_the_attempts_of_a_dead_letter_are_shown(taskq: Taskq, broker: FakeBroker) -> None:
    found = NONE
    for number in range(7):
        found = found.with_one(Attempt(f"2026-11-23T17:0{number}:00.000Z", "OSError: away", "w1"))
    stored = letter("billing/3/17")
    headers = [each for each in stored.headers if each[0] != "dlq-attempts"]
    headers += [("dlq-attempts", b"8"), ("taskq-attempts", write_attempts(found))]
    broker.admin.stored = [replace(stored, headers=headers)]

    lines = taskq("dlq", "show", "id-1").out.splitlines()
    document = taskq("dlq", "show", "id-1", "--json").json

    shown = [line for line in lines if line.startswith("attempt ")]
    assert len(shown) == 7
    assert shown[-1] == "attempt 7: 2026-11-23T17:06:00.000Z on w1: OSError: away"
    assert document["earlier"][-1]["error"] == "OSError: away"
    assert not [line for line in lines if "taskq-attempts" in line]
