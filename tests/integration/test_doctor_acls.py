"""A cluster with access rules: with the rights that `taskq doctor --acls` prints every command works, without them it says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.support.commands import Taskq
from tests.support.installation import Installation
from tests.support.kafka import admin
from tests.support.secure import SecureKafka
from tests.support.station import PATIENCE, Station, station

AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    # Who comes without a password is the operator; who comes with one may do what is granted.
    "super.users": "User:ANONYMOUS",
}
OPERATIONS = {"".join(each.split("_")).lower(): each for each in AclOperation.__members__}


@pytest.fixture(scope="module")
def guarded(kafka_home: Installation) -> Iterator[SecureKafka]:
    """A broker with access rules."""
    with SecureKafka(kafka_home, more=AUTHORIZER) as secure:
        yield secure


@pytest.fixture
def place(guarded: SecureKafka, tmp_path: Path) -> Iterator[Station]:
    """A station whose processes log in as somebody who may do nothing yet."""
    with station(guarded.sasl_address, tmp_path, "acls") as place:
        place.variables.update(
            TASKQ_KAFKA_SECURITY_PROTOCOL="sasl_plaintext",
            TASKQ_KAFKA_SASL_MECHANISM="PLAIN",
            TASKQ_KAFKA_SASL_USERNAME=guarded.username,
            TASKQ_KAFKA_SASL_PASSWORD=guarded.password,
        )
        yield place


def grant(guarded: SecureKafka, rows: list[dict[str, Any]]) -> None:
    """Give the user what rows of `doctor --acls` say."""
    bindings = [
        AclBinding(
            ResourceType.BROKER if row["resource"] == "cluster" else _kind(row["resource"]),
            row["name"],
            ResourcePatternType[row["pattern"].upper()],
            f"User:{guarded.username}",
            "*",
            AclOperation[OPERATIONS[operation.lower()]],
            AclPermissionType.ALLOW,
        )
        for row in rows
        for operation in row["operations"]
    ]
    client = admin(guarded.kafka.bootstrap)
    for answer in client.create_acls(list(dict.fromkeys(bindings))).values():
        answer.result(PATIENCE)


def _kind(resource: str) -> ResourceType:
    return ResourceType[resource.upper().replace("-", "_")]


# In this order: what is granted stays.
@pytest.mark.parametrize(("prefix", "optional"), [("team-", False), ("", True)])
def test_with_the_rights_that_are_printed_every_command_works(
    guarded: SecureKafka, place: Station, prefix: str, optional: bool
) -> None:
    taskq = Taskq(place)
    place.variables["TASKQ_PREFIX"] = prefix and f"{place.queue}-{prefix}"

    rows = taskq("doctor", "--acls", "--json").json
    grant(guarded, [row for row in rows if optional or not row["optional"]])

    assert (done := taskq("topics", "apply")).code == 0, done
    worker = place.worker("-c", "1", "-P", "threads")
    id = taskq("send", "wire.note").out.strip()
    place.ran(id)
    bad = taskq("send", "wire.nite").out.strip()
    late = taskq("send", "wire.note", "--countdown", "3600").out.strip()
    worker.wait_for_line("cannot be run", timeout=PATIENCE)
    for command in (
        ("queues",),
        ("workers",),
        ("find", id),
        ("find", late),
        ("timers", "list"),
        ("dlq", "list"),
        ("dlq", "redrive", place.queue, "--all", "--yes"),
        ("schedule", "list"),
        ("topics", "list"),
    ):
        assert (done := taskq(*command)).code == 0, (command, done)
    checked = {row["subject"]: row for row in taskq("doctor", "--json").json}
    assert checked["rights"]["level"] == "ok", checked
    problems = [row for row in checked.values() if row["level"] not in ("ok", "note")]
    assert not problems, problems
    assert worker.stop() == 0
    assert bad
    assert (done := taskq("purge", place.queue, "--yes")).code == 0, done


def test_without_rights_doctor_names_what_is_missing(guarded: SecureKafka, place: Station) -> None:
    taskq = Taskq(place)
    guarded.kafka.create_topic(place.queue)
    grant(
        guarded,
        [
            {
                "resource": "topic",
                "name": place.queue,
                "pattern": "literal",
                "operations": ["Describe"],
            }
        ],
    )

    done = taskq("doctor", "--json")

    rows = {row["subject"]: row for row in done.json}
    assert done.code == 1
    assert rows[f"rights on group {place.group}"]["level"] == "problem"
    assert (
        rows["unseen"]["finding"] == "this user may not look at: members of the group, what waits"
    )
    assert rows[f"rights on topic {place.queue}"]["level"] == "problem"
    assert "Read, Write" in rows[f"rights on topic {place.queue}"]["finding"]
