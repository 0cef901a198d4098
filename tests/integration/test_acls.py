"""The rights that the docs say each process needs are enough, on a Kafka that checks them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from taskq.protocols import Outgoing
from taskq.timing.shards import Write
from taskq.timing.timers import timer_write
from taskq.timing.timershard import TimerShard
from taskq_kafka.errors import LogUnfit
from taskq_kafka.logs import Logs
from taskq_kafka.options import TransportOptions
from taskq_kafka.reader import Reader
from tests.support.installation import Installation
from tests.support.kafka import admin
from tests.support.processes import ROOT
from tests.support.secure import SecureKafka
from tests.support.station import TASKS, Station, station
from tests.support.toyshard import now_ms, toy_host
from tests.support.waiting import wait_until

USERS = ("sender", "beat", "worker", "queues", "dlq", "dlq-redrive", "nobody")
PAGE = ROOT / "docs" / "how-to" / "acls.md"


_RESOURCES = {"Topic": "TOPIC", "Group": "GROUP", "TransactionalId": "TRANSACTIONAL_ID"}


@dataclass(frozen=True)
class Right:
    """A row of the page's first table."""

    user: str
    resource: str
    name: str
    operations: tuple[str, ...]


def documented() -> list[Right]:
    """Return the rights of the page's first table, which are those that are needed."""
    table = PAGE.read_text().split("\n\nEverything else is optional:")[0]
    kinds = "|".join(_RESOURCES)
    rows = re.findall(rf"^\| (.+?) \| ({kinds}) \| `(.+?)` \| (.+?) \| ", table, re.MULTILINE)
    return [
        Right(_user(user), resource, name, tuple(wanted.split(", ")))
        for users, resource, name, wanted in rows
        for user in users.split(", ")
    ]


def _user(process: str) -> str:
    return process.strip("`").removeprefix("taskq ").replace(" ", "-")


def grant(client: AdminClient, right: Right, *, queue: str, group: str) -> None:
    """Give a user one row's rights."""
    name = right.name.replace("QUEUE", queue).replace("GROUP", group)
    is_prefix = name.endswith("*")
    bindings = [
        AclBinding(
            ResourceType[_RESOURCES[right.resource]],
            name.removesuffix("*"),
            ResourcePatternType.PREFIXED if is_prefix else ResourcePatternType.LITERAL,
            f"User:{right.user}",
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )
        for operation in right.operations
    ]
    for answer in client.create_acls(bindings).values():
        answer.result(timeout=30)


@pytest.fixture(scope="module")
def guarded(kafka_home: Installation) -> Iterator[SecureKafka]:
    with SecureKafka(kafka_home, users=USERS) as guarded:
        operator = Logs(TransportOptions(bootstrap=guarded.kafka.bootstrap))
        operator.check("taskq.timers", timeout=30)
        yield guarded


@pytest.fixture
def place(guarded: SecureKafka, tmp_path: Path) -> Iterator[Station]:
    """Give a queue with its dead letters on that Kafka, and to each user what the page says."""
    with station(guarded.kafka.bootstrap, tmp_path, "acls") as place:
        for topic in (place.queue, f"{place.queue}.dlq"):
            guarded.kafka.create_topic(topic)
        client = admin(guarded.kafka.bootstrap)
        for right in documented():
            grant(client, right, queue=place.queue, group=place.group)
        place.variables.update(
            {
                "TASKQ_BROKER": guarded.sasl_address,
                "TASKQ_AUTO_CREATE": "false",
                "TASKQ_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "TASKQ_KAFKA_SASL_MECHANISM": "PLAIN",
                "TASKQ_KAFKA_SASL_PASSWORD": guarded.password,
            }
        )
        yield place


def become(place: Station, user: str) -> None:
    """Let the next process log in as a user."""
    place.variables["TASKQ_KAFKA_SASL_USERNAME"] = user


def test_each_process_runs_with_the_documented_rights(place: Station) -> None:
    become(place, "sender")
    code, text = place.command("send", "wire.note", "-a", "[1]")
    assert code == 0, text
    id = text.strip()
    code, text = place.command("send", "wire.note", "-a", "[1]", "--countdown", "0.1")
    assert code == 0, text
    waiting = text.strip()
    code, text = place.command("send", "no.such.task")
    assert code == 0, text

    become(place, "queues")
    code, text = place.command("queues", "--json")
    assert code == 0, text
    assert '"lag": 2' in text

    become(place, "worker")
    worker = place.worker("-c", "1")
    place.ran(id)
    place.ran(waiting)
    worker.wait_for_line("it is in the dead letters", timeout=30)
    assert worker.stop() == 0, worker.text

    become(place, "dlq")
    code, text = place.command("dlq", "list", place.queue)
    assert code == 0, text
    assert "unknown_task" in text

    become(place, "dlq-redrive")
    code, text = place.command("dlq", "redrive", place.queue, "--all", "--yes")
    assert (code, text) == (0, f"redriven 1 dead letter of queue {place.queue}\n")


def test_beat_runs_with_the_documented_rights(guarded: SecureKafka, place: Station) -> None:
    guarded.kafka.create_topic("taskq.schedules", config={"cleanup.policy": "compact"})
    become(place, "beat")
    file = place.folder / "every-second.json"
    file.write_text(
        '[{"id": "1", "cron": "* * * * * *", "task": "wire.note", "args": [1], "key": "one"}]'
    )

    beat = place.processes.taskq("beat", "-s", str(file), env=place.environment)
    beat.wait_for_line("beat is ready", timeout=30)
    become(place, "worker")
    worker = place.worker("-c", "1")
    worker.wait_for_line(r"wire\.note\[every-second/1@.*succeeded", timeout=30)

    assert beat.stop() == 0, beat.text
    assert worker.stop() == 0, worker.text


@pytest.mark.parametrize(
    "command",
    [
        ("send", "wire.note"),
        ("dlq", "list", "QUEUE"),
        ("dlq", "redrive", "QUEUE", "--all", "--yes"),
    ],
)
def test_user_without_rights_is_told_so_in_one_line(
    place: Station, command: tuple[str, ...]
) -> None:
    become(place, "nobody")

    code, text = place.command(*(word.replace("QUEUE", place.queue) for word in command))

    assert code in (1, 2), text
    (line,) = text.splitlines()
    assert "no right to use" in line


def test_worker_without_rights_says_so_without_a_traceback_and_lives(place: Station) -> None:
    become(place, "nobody")

    worker = place.worker("-c", "1", "--no-timers")

    line = worker.wait_for_line("stands still", timeout=30).string
    assert " ERROR worker: " in line
    assert "no right to use" in line
    assert worker.stop() == 0
    assert "Traceback" not in worker.text


def test_worker_that_may_not_keep_the_time_ends_and_names_the_option(place: Station) -> None:
    become(place, "nobody")

    code, text = place.command("worker", "-A", TASKS, "-c", "1")

    line = text.splitlines()[-1]
    assert (code, line.startswith("taskq: ")) == (2, True), text
    assert "topic 'taskq.timers' cannot serve as the log 'taskq.timers': no right to" in line
    assert "Traceback" not in text
    assert line.endswith("or leave the time of waiting tasks to other workers with --no-timers")


def test_worker_without_the_right_to_delete_says_so_and_runs_tasks(place: Station) -> None:
    become(place, "sender")
    code, text = place.command("send", "wire.note", "-a", "[1]")
    assert code == 0, text
    become(place, "worker")
    place.variables["TASKQ_KEEP_FINISHED"] = "0.001"

    worker = place.worker("-c", "1")

    place.ran(text.strip())
    line = worker.wait_for_line("finished tasks stay in", timeout=30).string
    assert " WARNING worker: " in line
    assert worker.stop() == 0, worker.text


def logs_of(guarded: SecureKafka, user: str, **options: Any) -> Logs:
    kafka = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": guarded.password,
    }
    return Logs(TransportOptions(bootstrap=guarded.sasl_address, kafka=kafka, **options))


def due(value: str, queue: str) -> Write:
    """Return a task that is due, without headers; its value names it."""
    write = timer_write(Outgoing(queue, value.encode(), ()), task_id=value, due_ms=now_ms())
    return replace(write, queue=None)  # the sender may not look at the other queue


@pytest.mark.timeout(240)
def test_owners_of_timers_run_with_the_documented_rights_and_put_aside_what_they_may_not_send(
    guarded: SecureKafka, place: Station
) -> None:
    forbidden = f"{place.queue}-forbidden"
    for topic in ("taskq.timers.dlq", forbidden):
        guarded.kafka.create_topic(topic)
    grant(
        admin(guarded.kafka.bootstrap),
        Right("worker", "Topic", forbidden, ("Describe",)),
        queue="",
        group="",
    )
    good = [due(f"good-{number}", place.queue) for number in range(20)]
    bad = [due(f"bad-{number}", forbidden) for number in range(20)]
    assert not any(logs_of(guarded, "sender", auto_create=False).append([*good, *bad], timeout=30))

    logs = logs_of(guarded, "worker", auto_create=False)
    open_shard: Any = TimerShard  # the two packages know one another's records as Protocols only
    host = logs.host("taskq.timers", "taskq-timers", open_shard, now_ms=now_ms)
    thread = threading.Thread(target=host.run, daemon=True)
    thread.start()

    reader = Reader(TransportOptions(bootstrap=guarded.kafka.bootstrap))

    def values(topic: str) -> set[bytes]:
        messages = reader.read_all(topic, range(4), timeout=30)
        return {message.value() or b"" for message in messages}

    wanted = {f"bad-{number}".encode() for number in range(20)}
    wait_until(
        lambda: values("taskq.timers.dlq") == wanted, timeout=30, what="letters of all of them"
    )
    good_values = {f"good-{number}".encode() for number in range(20)}
    wait_until(
        lambda: values(place.queue) == good_values, timeout=30, what="the tasks between them"
    )
    host.stop()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.timeout(240)
def test_owner_of_timers_without_rights_is_told_so_at_once(
    guarded: SecureKafka, place: Station
) -> None:
    with pytest.raises(LogUnfit, match="ask the cluster's operator"):
        toy_host(logs_of(guarded, "nobody"), "taskq.timers", "taskq-timers").run()
    with pytest.raises(LogUnfit, match="no right to Read"):
        toy_host(logs_of(guarded, "sender"), "taskq.timers", "taskq-timers").run()
    with pytest.raises(LogUnfit, match=r"(?i)group authorization failed.*ask the cluster"):
        toy_host(logs_of(guarded, "worker"), "taskq.timers", "another-group").run()
