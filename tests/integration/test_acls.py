"""The rights that the docs say each process needs are enough, on a Kafka that checks them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.support.installation import Installation
from tests.support.kafka import admin
from tests.support.processes import ROOT
from tests.support.secure import SecureKafka
from tests.support.station import Station, station

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
    rows = re.findall(
        r"^\| (.+?) \| (Topic|Group|TransactionalId) \| `(.+?)` \| (.+?) \| ", table, re.MULTILINE
    )
    return [
        Right(_user(process), resource, name, tuple(wanted.split(", ")))
        for process, resource, name, wanted in rows
    ]


def _user(process: str) -> str:
    return process.strip("`").removeprefix("taskq ").replace(" ", "-")


def grant(client: AdminClient, right: Right, *, queue: str, group: str) -> None:
    """Give a user one row's rights."""
    name = right.name.replace("QUEUE", queue).replace("GROUP", group)
    bindings = [
        AclBinding(
            ResourceType[_RESOURCES[right.resource]],
            name,
            ResourcePatternType.LITERAL,
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
    code, text = place.command("send", "no.such.task")
    assert code == 0, text

    become(place, "queues")
    code, text = place.command("queues", "--json")
    assert code == 0, text
    assert '"lag": 2' in text

    become(place, "worker")
    worker = place.worker("-c", "1")
    place.ran(id)
    worker.wait_for_line("it is in the dead letters", timeout=30)
    assert worker.stop() == 0, worker.text

    become(place, "dlq")
    code, text = place.command("dlq", "list", place.queue)
    assert code == 0, text
    assert "unknown_task" in text

    become(place, "dlq-redrive")
    code, text = place.command("dlq", "redrive", place.queue, "--all", "--yes")
    assert (code, text) == (0, f"redriven 1 dead letter of queue {place.queue}\n")


def test_beat_runs_with_the_documented_rights(place: Station) -> None:
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

    worker = place.worker("-c", "1")

    line = worker.wait_for_line("stands still", timeout=30).string
    assert " ERROR worker: " in line
    assert "no right to use" in line
    assert worker.stop() == 0
    assert "Traceback" not in worker.text
