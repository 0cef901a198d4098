"""Each command as a user types it, against a real Kafka: what it prints, where, and its exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from taskq.cli.output import print_json
from tests.support.commands import Taskq
from tests.support.kafka import Kafka, admin
from tests.support.station import PATIENCE, TASKS, Station, headers_of, seen_by, station
from tests.support.waiting import wait_until


@pytest.fixture
def place(kafka: Kafka, tmp_path: Path) -> Iterator[Station]:
    with station(kafka.bootstrap, tmp_path, "cli") as place:
        yield place


@pytest.fixture
def taskq(place: Station) -> Taskq:
    return Taskq(place)


def topics_and_groups(kafka: Kafka) -> tuple[set[str], set[str]]:
    client: AdminClient = admin(kafka.bootstrap)
    topics = set(client.list_topics(timeout=PATIENCE).topics)
    groups = client.list_consumer_groups(request_timeout=PATIENCE).result(PATIENCE)
    return topics, {each.group_id for each in groups.valid}


# send


def test_send_takes_all_its_options(place: Station, taskq: Taskq) -> None:
    options = ["-a", '[1, "é"]', "-k", '{"b": null}', "--key", "ACME", "--task-id", "mine"]

    done = taskq("send", "wire.note", *options, "--header", "tenant=é", "--header", "a=b=c")

    assert (done.code, done.out, done.err) == (0, "mine\n", "")
    (record,) = place.read(place.queue)
    headers = dict(headers_of(record))
    assert record.key() == b"ACME"
    assert json.loads(record.value() or b"")[:2] == [[1, "é"], {"b": None}]
    assert (headers["task"], headers["id"]) == (b"wire.note", b"mine")
    assert (headers["tenant"], headers["a"]) == ("é".encode(), b"b=c")


def test_send_prints_one_document_and_call_is_its_alias(place: Station, taskq: Taskq) -> None:
    other = f"{place.queue}-other"

    done = taskq("call", "wire.note", "--queue", other, "--json")

    assert done.code == 0
    assert done.json == {"id": done.json["id"], "task": "wire.note", "queue": other}
    (record,) = place.read(other)
    assert dict(headers_of(record))["id"] == done.json["id"].encode()


def test_sent_task_is_run_by_a_worker(place: Station, taskq: Taskq) -> None:
    worker = place.worker("-c", "1")

    done = taskq("send", "wire.note", "-a", "[7]", "-A", TASKS)

    assert seen_by(place.ran(done.out.strip()))["args"] == [7]
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("wire.note", "-a", "{}"), "array"),
        (("wire.note", "-a", "[1"), "not JSON"),
        (("wire.note", "-k", "[]"), "object"),
        (("wire.note", "--header", "tenant"), "NAME=VALUE"),
        (("wire.note", "--queue", "a/b"), "queue"),
        (("wire.note", "--queue", "a.dlq"), "queue"),
        (("wire.note", "--task-id", "a\nb"), "--task-id"),
        (("wire.note", "--coutdown", "3"), "--coutdown"),
        (("wire.add", "-a", "[1, 2, 3]"), "wire.add"),
        ((), "TASK"),
    ],
)
def test_send_refuses_what_is_wrong_before_anything_is_sent(
    place: Station, taskq: Taskq, arguments: tuple[str, ...], said: str
) -> None:
    done = taskq("send", "-A", TASKS, *arguments)

    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert said in line
    assert place.read(place.queue) == []


def test_send_of_a_task_the_app_does_not_have_is_said(taskq: Taskq) -> None:
    done = taskq("send", "wire.nite", "-A", TASKS)

    assert done.code == 0
    assert "did you mean 'wire.note'" in done.err


@pytest.mark.parametrize(
    "command", [("send", "wire.note"), ("queues",), ("dlq", "list"), ("worker", "-A", TASKS)]
)
def test_without_a_broker_the_address_is_named_and_the_code_is_3(
    taskq: Taskq, command: tuple[str, ...]
) -> None:
    done = taskq(*command, "-b", "127.0.0.1:1", TASKQ_CONNECT_TIMEOUT="1")

    assert (done.code, done.out) == (3, "")
    (line,) = done.err.splitlines()
    assert "127.0.0.1:1" in line
    assert "docker compose up" in line


def test_other_transports_url_is_refused_with_ours(taskq: Taskq, kafka: Kafka) -> None:
    done = taskq("queues", "-b", f"kafka://{kafka.bootstrap}")

    assert done.code == 2
    assert "taskq://" in done.err


# tasks, config, --version


def test_tasks_are_listed(place: Station, taskq: Taskq) -> None:
    done = taskq("tasks", "-A", TASKS, "--json")

    assert [row["name"] for row in done.json] == ["wire.add", "wire.fail", "wire.note"]
    assert {row["queue"] for row in done.json} == {place.queue}
    assert "wire.note" in taskq("-A", TASKS, "tasks").out


def test_config_shows_values_sources_and_no_secrets(place: Station, taskq: Taskq) -> None:
    (place.folder / "taskq.toml").write_text(
        'grace = 7\n[kafka]\n"socket.keepalive.enable" = true\n'
    )

    done = taskq("config", "--json", "-l", "error", TASKQ_KAFKA_SASL_PASSWORD="hidden")

    rows = {row["name"]: row for row in done.json}
    assert rows["grace"]["value"] == 7
    assert rows["grace"]["source"].startswith("file ")
    assert rows["kafka.socket.keepalive.enable"]["value"] == "true"
    assert rows["log_level"]["source"] == "flag"
    assert rows["group"]["source"] == "environment"
    assert rows["partitions"]["source"] == "default"
    assert "hidden" not in done.out


@pytest.mark.parametrize("data", [(), ("--json",)])
def test_config_ends_as_other_commands_for_an_option_that_the_client_does_not_take(
    taskq: Taskq, data: tuple[str, ...]
) -> None:
    wrong = {"TASKQ_KAFKA_SASL_USRNAME": "x"}

    done = taskq("config", *data, **wrong)

    assert "kafka.sasl.usrname" in done.out
    assert done.code == 2
    assert done.err == taskq("queues", **wrong).err
    assert "did you mean 'sasl.username'?" in done.err


def test_config_asks_no_broker(taskq: Taskq) -> None:
    done = taskq("config", "-b", "127.0.0.1:9", TASKQ_CONNECT_TIMEOUT="600")

    assert (done.code, done.err) == (0, "")


def test_version_is_the_distributions(taskq: Taskq) -> None:
    done = taskq("--version")

    assert done.code == 0
    assert done.out.startswith("taskq ")


# queues


def test_queues_show_what_waits_and_who_takes_it(place: Station, taskq: Taskq) -> None:
    for _ in range(3):
        taskq("send", "wire.note")
    idle = f"{place.queue}-idle"
    taskq("send", "wire.note", "--queue", idle)
    worker = place.worker("-c", "1")
    place.ledger.wait_for(3, timeout=PATIENCE)

    rows = {row["queue"]: row for row in taskq("queues", "--json").json}
    mine, other = rows[place.queue], rows[idle]

    assert list(mine) == ["queue", "partitions", "lag", "oldest_age", "workers", "held_up"]
    assert (mine["partitions"], mine["lag"], mine["oldest_age"], mine["workers"]) == (
        12,
        0,
        None,
        1,
    )
    assert (other["lag"], other["workers"]) == (1, 0)
    assert 0 <= other["oldest_age"] < PATIENCE
    table = taskq("queues").out.splitlines()
    assert table[0].split() == ["QUEUE", "PARTITIONS", "LAG", "OLDEST", "AGE", "WORKERS"]
    assert worker.stop() == 0


# dlq


def test_dead_letters_are_listed_and_shown(place: Station, taskq: Taskq) -> None:
    worker = place.worker("-c", "1", "-n", "first")
    id = taskq("send", "wire.fail", "-a", '["no"]').out.strip()
    worker.wait_for_line(rf"\[{id}\] failed .*ValueError: no", timeout=PATIENCE)
    place.dead_letter(id)

    (row,) = taskq("dlq", "list", place.queue, "--json").json
    shown = taskq("dlq", "show", id)
    document = taskq("dlq", "show", place.queue, id, "--json").json
    by_source = taskq("dlq", "show", row["source"], "--json").json

    names = ["id", "task", "queue", "reason", "error", "attempts", "failed_at", "source"]
    assert list(row) == names
    assert [row[name] for name in names[:6]] == [
        id, "wire.fail", place.queue, "failed", "ValueError: no", 1,
    ]  # fmt: skip
    assert row in taskq("dlq", "list", "--json").json
    assert place.queue in taskq("dlq", "list").out
    assert by_source == document
    assert {name: document[name] for name in names} == row
    assert document["details"]["worker"] == "first"
    assert json.loads(document["value"])[0] == ["no"]
    assert "wire_tasks.py" in document["traceback"]
    assert "raise ValueError(why)" in shown.out
    assert worker.stop() == 0


def test_dead_letter_that_is_not_there_is_code_1(place: Station, taskq: Taskq) -> None:
    assert taskq("send", "wire.note", "--queue", place.queue).code == 0

    done = taskq("dlq", "show", place.queue, "nothing")

    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert "'nothing'" in line
    assert taskq("dlq", "list", place.queue, "--json").json == []


# Settings


def test_prefix_stands_before_topics_and_groups(kafka: Kafka, place: Station, taskq: Taskq) -> None:
    prefix = f"{place.queue}."
    place.variables.update(TASKQ_PREFIX=prefix, TASKQ_DEFAULT_QUEUE="orders", TASKQ_GROUP="crew")
    worker = place.worker("-c", "1")
    done, bad = taskq("send", "wire.note"), taskq("send", "wire.nite")

    place.ran(done.out.strip())
    worker.wait_for_line("cannot be run", timeout=PATIENCE)

    timers = f"{prefix}taskq-timers"  # joined in a thread of its own
    wait_until(lambda: timers in topics_and_groups(kafka)[1], timeout=PATIENCE, what="its group")
    topics, groups = topics_and_groups(kafka)
    assert {each for each in topics if place.queue in each} == {
        f"{prefix}orders",
        f"{prefix}orders.dlq",
        f"{prefix}taskq.timers",
    }
    assert {each for each in groups if place.queue in each} == {f"{prefix}crew", timers}
    assert [row["queue"] for row in taskq("queues", "--json").json] == ["orders"]
    assert [row["id"] for row in taskq("dlq", "list", "--json").json] == [bad.out.strip()]
    assert f"group:   {prefix}crew" in worker.text
    assert worker.stop() == 0


def test_without_auto_create_a_missing_queue_is_named(place: Station, taskq: Taskq) -> None:
    place.variables["TASKQ_AUTO_CREATE"] = "false"

    done = taskq("send", "wire.note")

    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert place.queue in line
    assert "not sent" in line


def test_a_file_makes_plain_commands_enough(place: Station, taskq: Taskq) -> None:
    (place.folder / "taskq.toml").write_text(
        f'broker = "{place.bootstrap}"\napp = "{TASKS}"\ndefault_queue = "{place.queue}"\n'
        f'group = "{place.group}"\nconcurrency = 1\n'
    )
    only = {"TEST_LEDGER": str(place.ledger.path)}
    worker = place.processes.taskq("worker", cwd=place.folder, env=only)
    worker.wait_for_line("ready", timeout=PATIENCE)

    sender = place.processes.taskq("send", "wire.note", cwd=place.folder, env=only)

    assert sender.wait(timeout=PATIENCE) == 0
    place.ran(sender.text.strip())
    assert worker.stop() == 0


def test_unknown_settings_are_errors_in_a_file_and_warnings_in_the_environment(
    place: Station, taskq: Taskq
) -> None:
    warned = taskq("send", "wire.note", TASKQ_PREFX="x")
    (place.folder / "taskq.toml").write_text('prefx = "x"\n')
    refused = taskq("send", "wire.note")

    assert warned.code == 0
    assert "TASKQ_PREFX" in warned.err
    assert refused.code == 2
    assert "did you mean 'prefix'" in refused.err


def test_unknown_option_of_the_client_is_named(taskq: Taskq) -> None:
    done = taskq("send", "wire.note", TASKQ_KAFKA_SASL_USRNAME="x")

    assert done.code == 2
    (line,) = done.err.splitlines()
    assert "sasl.usrname" in line
    assert "sasl.username" in line


# The terminal


def test_json_keeps_readable_text_and_escapes_what_a_terminal_would_obey(
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = {"text": "é\x1b[2J\x9b\u202e\u2028\U000e0001"}

    print_json(document)

    out = capsys.readouterr().out
    assert "é" in out
    assert out.replace("\n", "").isprintable()
    assert json.loads(out) == document
