"""The commands of operators as processes on a real Kafka: what they print, what they change, and how they fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from taskq.clock import SystemClock, unix_ms
from tests.support.commands import Done, Taskq
from tests.support.kafka import QUIET, Kafka
from tests.support.processes import environment
from tests.support.scene import Scene
from tests.support.station import PATIENCE, TASKS, Station, station
from tests.support.waiting import wait_until


@pytest.fixture
def place(kafka: Kafka, tmp_path: Path) -> Iterator[Station]:
    """A station behind a prefix of its own: commands then see no other test's queues."""
    with station(kafka.bootstrap, tmp_path, "operators") as place:
        place.variables["TASKQ_PREFIX"] = f"{place.queue}-"
        yield place


@pytest.fixture
def taskq(place: Station) -> Taskq:
    return Taskq(place)


def send(taskq: Taskq, *options: str) -> str:
    done = taskq("send", "wire.note", *options)
    assert (done.code, done.err) == (0, "")
    return done.out.strip()


@pytest.mark.parametrize(
    "command",
    [
        ("topics",),
        ("topics", "list"),
        ("topics", "plan"),
        ("topics", "apply"),
        ("workers",),
        ("find",),
        ("purge",),
        ("doctor",),
        ("completion",),
        ("queues",),
    ],
)
def test_every_command_explains_itself(taskq: Taskq, command: tuple[str, ...]) -> None:
    done = taskq(*command, "--help")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: taskq ")


@pytest.mark.parametrize(
    "command",
    [("topics", "apply"), ("workers",), ("find", "x"), ("purge", "x", "--yes"), ("doctor",)],
)
def test_without_a_broker_the_code_is_3(taskq: Taskq, command: tuple[str, ...]) -> None:
    done = taskq(*command, "-b", "127.0.0.1:1", TASKQ_CONNECT_TIMEOUT="1")

    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert "127.0.0.1:1" in done.err


# topics


def test_topics_are_planned_and_made_where_nothing_else_makes_them(
    kafka: Kafka, place: Station, taskq: Taskq
) -> None:
    place.variables["TASKQ_AUTO_CREATE"] = "false"
    existing = f"{place.queue}-reports"
    kafka.create_topic(existing, partitions=3, config={"retention.ms": "604800000"})

    refused = taskq("send", "wire.note", "--queue", "billing")
    planned = taskq("topics", "plan", "billing")
    unchanged = taskq("topics", "list", "billing", "--json").json
    applied = taskq("topics", "apply", "billing")
    everything = taskq("topics", "plan")
    rows = {row["topic"]: row for row in taskq("topics", "list", "--json").json}
    again = taskq("topics", "apply", "billing")

    assert refused.code == 1
    assert f"would make {place.queue}-billing (partitions=12, replication=1" in planned.out
    billing = [f"{place.queue}-billing", f"{place.queue}-billing.dlq"]
    assert [(row["topic"], row["state"]) for row in unchanged] == [
        (topic, "missing") for topic in billing
    ]
    assert f"made {place.queue}-billing.dlq (" in applied.out
    assert len(applied.out.splitlines()) == 2
    assert f"{existing}: exists with other settings and is used as it is" in everything.out
    assert rows[f"{place.queue}-billing"]["state"] == "ok"
    assert rows[f"{place.queue}-billing.dlq"]["state"] == "ok"
    assert rows[f"{place.queue}-billing"]["settings"]["retention.ms"] == "-1"
    assert rows[existing]["differences"]["retention.ms"] == {"is": "604800000", "wanted": "-1"}
    assert rows[existing]["partitions"] == 3
    assert "nothing to make" in again.out
    assert taskq("send", "wire.note", "--queue", "billing").code == 0


# workers, queues, find, purge


def test_a_task_is_followed_from_queue_to_dead_letter(place: Station, taskq: Taskq) -> None:
    first, second = send(taskq, "--key", "k"), send(taskq, "--key", "k")
    own = send(taskq, "--task-id", "mine")

    waiting = taskq("find", second, "--json").json
    named = taskq("find", f"{place.queue}/{waiting['partition']}/{waiting['offset']}", "--json")
    by_own_id = taskq("find", own)
    [row] = [row for row in taskq("queues", "--json").json if row["queue"] == place.queue]
    told = on_a_terminal(place, "queues")

    assert (waiting["state"], waiting["task"]) == ("waiting", "wire.note")
    assert (waiting["queue"], waiting["ahead"], waiting["worker"]) == (place.queue, 1, None)
    assert named.json["state"] == "waiting"
    assert "No worker holds the partition" in by_own_id.out
    assert (row["lag"], row["workers"]) == (3, 0)
    assert "no worker; the oldest has waited since 20" in told

    worker = place.worker("-c", "1", "-n", "first")
    place.ledger.wait_for(3, timeout=PATIENCE)
    failing = taskq("send", "wire.fail", "-a", '["no"]').out.strip()
    wait_until(
        lambda: "dead letter" in taskq("find", failing).out, timeout=PATIENCE, what="its letter"
    )

    [member] = taskq("workers", "--json").json
    claimed = taskq("find", first, "--json").json
    letter = taskq("find", failing, "--json").json
    unknown = taskq("find", own)

    assert (member["name"], member["protocol"]) == ("first", "consumer")
    assert member["queues"] == {place.queue: list(range(12))}
    assert "0-11" in taskq("workers").out
    assert claimed["state"] == "claimed"
    assert (letter["state"], letter["reason"]) == ("dead letter", "failed")
    assert letter["error"] == "ValueError: no"
    assert unknown.code == 1
    assert "searched: 0 waiting records in 1 queue;" in unknown.err
    assert "; 1 dead letter." in unknown.err
    assert worker.stop() == 0


@pytest.fixture
def taskq_beside(scene: Scene, tmp_path: Path) -> Taskq:
    """Commands that see what a scene's workers see."""
    variables = {
        "TASKQ_BROKER": scene.kafka.bootstrap,
        "TASKQ_DEFAULT_QUEUE": scene.queue,
        "TASKQ_GROUP": scene.group,
    }
    return Taskq(Beside(tmp_path, variables))


@dataclass(frozen=True)
class Beside:
    folder: Path
    environment: dict[str, str]


def test_a_waiting_task_names_the_worker_that_holds_its_partition(
    scene: Scene, taskq_beside: Taskq
) -> None:
    worker = scene.ready_worker("-n", "holder", "-P", "threads")
    gate = scene.gate()
    scene.hold(gate)
    ids = [scene.send(key="k") for _ in range(3)]

    found = taskq_beside("find", ids[-1], "--json").json
    gate.touch()

    assert (found["state"], found["ahead"]) == ("waiting", 2)
    assert found["worker"].startswith("holder (")
    scene.wait_ended(*ids)
    assert worker.stop() == 0


def test_a_purged_queue_is_empty_and_its_tasks_are_gone(place: Station, taskq: Taskq) -> None:
    ids = [send(taskq) for _ in range(3)]
    place_of = taskq("find", ids[0], "--json").json

    asked = taskq("purge", place.queue)
    done = taskq("purge", place.queue, "--yes")
    empty = taskq("purge", place.queue, "--yes", "--json")
    wrong = taskq("purge", f"{place.queue}x", "--yes")
    source = f"{place.queue}/{place_of['partition']}/{place_of['offset']}"

    assert (asked.code, asked.out) == (2, "")
    assert "--yes" in asked.err
    assert (done.code, done.out) == (0, f"deleted 3 waiting tasks of queue {place.queue}\n")
    assert empty.json == {"queue": place.queue, "deleted": 0}
    assert wrong.code == 1
    assert f"did you mean '{place.queue}'?" in wrong.err
    assert taskq("find", ids[0]).code == 1
    assert taskq("find", source, "--json").json["state"] == "deleted"


def test_a_purge_beside_a_busy_worker_stops_nothing_that_comes_later(
    scene: Scene, taskq_beside: Taskq
) -> None:
    worker = scene.ready_worker("-P", "threads")
    gate = scene.gate()
    running = scene.hold(gate)
    scene.send_many(200)

    done = taskq_beside("purge", scene.queue, "--yes")
    later = scene.send_many(24)  # some to each partition, also those whose next record is gone
    gate.touch()

    assert done.code == 0
    assert "what they had fetched by now, they still run" in done.err
    scene.wait_ended(running.id, *later)
    assert scene.ran_twice() == {}
    assert worker.stop() == 0


# doctor


@dataclass(frozen=True)
class Findings:
    rows: list[dict[str, Any]]

    def about(self, subject: str) -> dict[str, Any]:
        [row] = [row for row in self.rows if row["subject"] == subject]
        return row


def test_doctor_finds_what_is_wrong_and_says_what_to_do(
    kafka: Kafka, place: Station, taskq: Taskq
) -> None:
    place.variables["TASKQ_DEFAULT_QUEUE"] = "billing"
    kafka.create_topic(f"{place.queue}-reports", config={"retention.ms": "604800000"})
    assert taskq("send", "wire.note").code == 0

    done = taskq("doctor", "--json")
    told = taskq("doctor")

    found = Findings(done.json)
    assert (done.code, told.code, told.err) == (1, 1, "")
    assert found.about("version")["finding"].startswith("Kafka 3.6 or later, with the consumer")
    assert found.about("session")["level"] == "ok"
    assert "7 days" in found.about("offsets")["finding"]
    assert "no access rules" in found.about("rights")["finding"]
    waiting = found.about("queue billing")
    assert waiting["level"] == "problem"
    assert waiting["finding"].startswith("1 waiting task, the oldest for ")
    assert "taskq worker" in waiting["advice"]
    reports = [row for row in done.json if row["subject"] == f"topic {place.queue}-reports"]
    assert {row["level"] for row in reports} == {"note", "problem"}
    assert any("retention.ms=604800000 (7d 0h)" in row["finding"] for row in reports)
    assert "Tasks that wait longer are deleted and never run." in told.out


def test_doctor_is_content_with_a_worker_and_measures_the_clock_by_its_commits(
    place: Station, taskq: Taskq
) -> None:
    place.variables["TASKQ_DEFAULT_QUEUE"] = "billing"
    worker = place.worker("-c", "1", "-P", "threads")
    stream = place.processes.python(
        *("-c", _STREAM, place.bootstrap, f"{place.queue}-"), env=place.environment
    )
    stream.wait_for_line("sending", timeout=PATIENCE)
    worker.wait_for_line(r"task wire.note\[.*\] succeeded", timeout=PATIENCE)

    done = wait_until(
        lambda: _unless_slow(taskq("doctor", "--json")),
        timeout=PATIENCE,
        what="an answer that is quick enough to tell the time by",
    )

    assert done is not None
    found = Findings(done.json)
    clock = found.about("clock")
    stream.kill()
    assert done.code == 0
    assert found.about("queue billing")["level"] == "ok"
    assert found.about("queue billing")["finding"].endswith("1 worker")
    assert (clock["level"], clock["finding"].startswith("within ")) == ("ok", True)
    worker.kill()


def _unless_slow(done: Done) -> Done | None:
    """Return what a doctor said, unless it says of the clock to run it again."""
    return None if Findings(done.json).about("clock")["level"] == "note" else done


_STREAM = """
import sys
from taskq import App
app = App("stream", broker=sys.argv[1], prefix=sys.argv[2])
print("sending", flush=True)
while True:
    app.send_task("wire.note", (), queue="billing")
"""


def test_doctor_and_queues_name_a_partition_that_another_programs_transaction_holds_up(
    kafka: Kafka, place: Station, taskq: Taskq
) -> None:
    topic = f"{place.queue}-billing"
    kafka.create_topic(topic, partitions=2)
    other = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "transactional.id": place.queue,
            "transaction.timeout.ms": 600_000,  # longer than the commands take that are to see it
            "logger": QUIET,
        }
    )
    other.init_transactions(PATIENCE)
    other.begin_transaction()
    begun_ms = unix_ms(SystemClock()) - 300_000
    other.produce(topic, b"[]", partition=1, timestamp=begun_ms)
    assert other.flush(PATIENCE) == 0

    done = taskq("doctor", "--json")
    queues = taskq("queues", "--json")
    table = taskq("queues")
    other.abort_transaction(PATIENCE)
    again = taskq("doctor", "--json")
    queues_again = taskq("queues", "--json")

    finding = Findings(done.json).about(f"partition {topic} 1")
    assert finding["level"] == "problem"
    assert finding["finding"].startswith("an open transaction holds back 1 offset from 0 on, since")
    assert "(5m " in finding["finding"]
    assert f"abort --topic {topic} --partition 1 --start-offset 0" in finding["advice"]
    assert not [row for row in again.json if row["subject"].startswith("partition ")]
    place_of = {"topic": topic, "partition": 1, "offset": 0, "behind": 1}
    [row] = [row for row in queues.json if row["queue"] == "billing"]
    assert [{**held, "since": None} for held in row["held_up"]] == [{**place_of, "since": None}]
    assert (row["lag"], row["held_up"][0]["since"][:2]) == (0, "20")
    assert f"topic {topic}: an open transaction holds up partition 1 from offset 0 on" in table.err
    assert not [row["held_up"] for row in queues_again.json if row["held_up"]]


def test_schedules_that_an_open_transaction_hides_are_not_said_to_be_missing(
    kafka: Kafka, place: Station, taskq: Taskq
) -> None:
    topic = f"{place.queue}-taskq.schedules"
    kafka.create_topic(topic, partitions=2)
    other = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "transactional.id": place.queue,
            "transaction.timeout.ms": 600_000,  # longer than the commands take that are to see it
            "logger": QUIET,
        }
    )
    other.init_transactions(PATIENCE)
    other.begin_transaction()
    other.produce(topic, b"{}", key=b"jobs/a", partition=1)
    assert other.flush(PATIENCE) == 0

    listed = taskq("schedule", "list")
    triggered = taskq("schedule", "trigger", "a")
    other.abort_transaction(PATIENCE)

    assert (listed.code, listed.out, triggered.code) == (0, "", 1)
    assert "no schedules are loaded" not in listed.err
    for done in (listed, triggered):
        assert "could not be read to its end, because a transaction has been open" in done.err
    assert "no schedules are loaded" in taskq("schedule", "list").err


def test_doctor_prints_rights_for_prefixes(taskq: Taskq) -> None:
    rows = taskq("doctor", "--acls", "--json", TASKQ_PREFIX="team.").json

    topics = {(row["name"], row["pattern"]) for row in rows if row["resource"] == "topic"}
    assert topics == {("team.", "prefixed"), ("__consumer_offsets", "literal")}
    assert {row["name"] for row in rows if row["resource"] == "group"} >= {"team.taskq-reader"}


# completion


def test_a_shell_completes_commands_tasks_and_queues(place: Station, taskq: Taskq) -> None:
    place.variables["TASKQ_APP"] = TASKS
    script = taskq("completion", "bash")

    commands = taskq(_TASKQ_COMPLETE="bash_complete", COMP_WORDS="taskq pur", COMP_CWORD="1")
    tasks = taskq(_TASKQ_COMPLETE="bash_complete", COMP_WORDS="taskq send wire.n", COMP_CWORD="2")
    queues = taskq(_TASKQ_COMPLETE="bash_complete", COMP_WORDS="taskq purge ", COMP_CWORD="2")

    assert "complete -o nosort -F" in script.out
    assert commands.out == "plain,purge\n"
    assert tasks.out == "plain,wire.note\n"
    assert queues.out == f"plain,{place.queue}\n"


def test_a_shell_completes_nothing_for_an_app_that_cannot_be_loaded(taskq: Taskq) -> None:
    done = taskq(
        _TASKQ_COMPLETE="bash_complete",
        COMP_WORDS="taskq send x",
        COMP_CWORD="2",
        TASKQ_APP="no_such_module",
    )

    assert (done.out.strip(), done.err) == ("", "")


# The terminal


def on_a_terminal(place: Station, *arguments: str, **variables: str) -> str:
    """Run a command whose output a person reads, and return what the terminal got."""
    ours, its = os.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "taskq", *arguments],
        cwd=place.folder,
        env=environment({**place.environment, "TERM": "xterm", "COLUMNS": "160", **variables}),
        stdout=its,
        stderr=subprocess.DEVNULL,
    )
    os.close(its)
    got = b""
    with contextlib.suppress(OSError):  # the end of a terminal whose other side is closed
        while part := os.read(ours, 65536):
            got += part
    os.close(ours)
    command.wait(PATIENCE)
    return got.decode()


def test_a_terminal_gets_a_table_in_colours_unless_they_are_refused(place: Station) -> None:
    coloured = on_a_terminal(place, "doctor")
    plain = on_a_terminal(place, "doctor", NO_COLOR="1")

    assert "───" in coloured
    assert "\x1b[32m" in coloured
    assert "───" in plain
    assert "\x1b[3" not in plain
