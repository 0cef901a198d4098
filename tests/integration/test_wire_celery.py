"""The wire: what Celery's own code sends runs in our workers, what we send runs in Celery's, and plain JSON of any program runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import Celery, chain, group, signature

from tests.support.kafka import Kafka
from tests.support.ledger import Entry
from tests.support.station import PATIENCE, Station, headers_of, seen_by, station
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def here(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A queue with one of our workers, for all tests that only send."""
    with station(kafka.bootstrap, tmp_path_factory.mktemp("here"), "wire") as here:
        here.worker("-c", "2")
        yield here


@pytest.fixture(scope="module")
def celery(here: Station) -> Iterator[Celery]:
    """A client of Celery's for that queue; it knows nothing of taskq's worker."""
    app = Celery("sender", broker=f"taskq://{here.bootstrap}", set_as_current=False)
    app.conf.update(task_default_queue=here.queue, task_publish_retry=False)
    yield app
    app.close()


@pytest.fixture
def away(kafka: Kafka, tmp_path: Path) -> Iterator[Station]:
    """A queue of one partition, for workers of Celery's."""
    with station(kafka.bootstrap, tmp_path, "celery") as away:
        kafka.create_topic(away.queue, partitions=1)
        yield away


# Celery's code sends, our worker runs


def test_send_task_of_celery_runs(here: Station, celery: Celery) -> None:
    sent = celery.send_task("wire.note", args=[1, "é"], kwargs={"b": [None, 2.5]})

    seen = seen_by(here.ran(sent.id))
    assert seen["args"] == [1, "é"]
    assert seen["kwargs"] == {"b": [None, 2.5]}
    assert seen["queue"] == here.queue
    assert seen["retries"] == 0


def test_delay_of_a_celery_task_runs(here: Station, celery: Celery) -> None:
    @celery.task(name="wire.note")  # type: ignore[untyped-decorator]  # Celery ships no types
    def note(*args: Any, **kwargs: Any) -> None:
        """Stand for the task of another program."""

    sent = note.delay("x", y=1)

    assert seen_by(here.ran(sent.id))["args"] == ["x"]


def test_headers_of_apply_async_arrive_with_their_types(here: Station, celery: Celery) -> None:
    headers = {"tenant": "é", "attempt": 3, "flags": [True, None]}

    sent = celery.send_task("wire.note", headers=headers, retries=2)

    seen = seen_by(here.ran(sent.id))
    assert {name: seen["headers"][name] for name in headers} == headers
    assert seen["headers"]["retries"] == seen["retries"] == 2
    assert seen["headers"]["timelimit"] == [None, None]
    assert seen["headers"]["root_id"] == sent.id


def test_the_priority_of_apply_async_leads_to_its_step(here: Station, celery: Celery) -> None:
    first = celery.send_task("wire.note", priority=8)

    assert seen_by(here.ran(first.id))["queue"] == here.queue
    (record,) = here.read(f"{here.queue}.p6")
    assert dict(headers_of(record))["kombu-priority"] == b"8"


def test_types_of_kombu_json_arrive(here: Station, celery: Celery) -> None:
    at = datetime(2026, 11, 23, 17, tzinfo=timezone.utc)
    id = UUID(int=7)

    sent = celery.send_task("wire.note", args=[at, Decimal("1.10"), id, b"\x00\xff"])

    assert seen_by(here.ran(sent.id))["args"] == [
        repr(at),
        "Decimal('1.10')",
        repr(id),
        repr(b"\x00\xff"),
    ]


@pytest.mark.parametrize("compression", ["zlib", "bzip2", "lzma"])
def test_compressed_bodies_arrive(here: Station, celery: Celery, compression: str) -> None:
    sent = celery.send_task("wire.note", args=["x" * 5000], compression=compression)

    seen = seen_by(here.ran(sent.id))
    assert seen["args"] == ["x" * 5000]
    assert seen["headers"]["compression"].startswith("application/")


def test_task_that_has_expired_is_not_run(here: Station, celery: Celery) -> None:
    past = datetime.now(timezone.utc) - timedelta(hours=1)  # noqa: TID251 - the sender's clock
    worker = here.processes.all[0]

    gone = celery.send_task("wire.note", expires=past)
    kept = celery.send_task("wire.note", expires=3600)

    worker.wait_for_line(rf"wire.note\[{gone.id}\] expired", timeout=PATIENCE)
    here.ran(kept.id)
    assert gone.id not in here.ledger.ids()


def test_a_task_with_a_countdown_is_moved_to_the_timers_and_runs_once(
    here: Station, celery: Celery
) -> None:
    worker = here.processes.all[0]

    here.ran(celery.send_task("wire.note").id)  # connected: the time counts from before a send
    sent = celery.send_task("wire.note", args=["later"], countdown=5)

    worker.wait_for_line(rf"wire.note\[{sent.id}\] waits until", timeout=PATIENCE)
    seen = seen_by(here.ran(sent.id))
    assert seen["args"] == ["later"]
    assert "taskq-fired" in seen["headers"]
    assert here.ledger.ids().count(sent.id) == 1


def test_a_task_that_waits_is_revoked_by_its_id(here: Station, celery: Celery) -> None:
    worker = here.processes.all[0]
    gone = celery.send_task("wire.note", countdown=3600)
    worker.wait_for_line(rf"wire.note\[{gone.id}\] waits until", timeout=PATIENCE)

    revoked = here.processes.taskq("revoke", gone.id, env=here.environment)

    revoked.wait_for_line("it waited until .* cancelled", timeout=PATIENCE)


def test_link_and_chain_are_sent_on_with_the_result(here: Station, celery: Celery) -> None:
    linked = signature("wire.note", app=celery, task_id=f"linked-{here.queue}")
    links = chain(
        signature("wire.add", (1, 2), app=celery),
        signature("wire.add", (10,), app=celery),
        signature("wire.note", ("last",), app=celery, link=linked),
    )

    result = links.apply_async()

    first = result.parent.parent
    assert json.loads(here.ran(first.id, "added").detail) == [1, 2]
    assert json.loads(here.ran(result.parent.id, "added").detail) == [3, 10]
    last = seen_by(here.ran(result.id))
    assert last["args"] == [13, "last"]
    assert last["headers"]["root_id"] == first.id
    assert last["headers"]["parent_id"] == result.parent.id
    assert seen_by(here.ran(f"linked-{here.queue}"))["args"] == [13]


def test_link_error_is_sent_with_the_id_of_what_failed(here: Station, celery: Celery) -> None:
    errback = signature("wire.note", app=celery, task_id=f"errback-{here.queue}")

    sent = celery.send_task("wire.fail", args=["no"], link_error=errback)

    assert seen_by(here.ran(f"errback-{here.queue}"))["args"] == [sent.id]
    said = here.dead_letter(sent.id)
    assert said["dlq-reason"] == "failed"
    assert said["dlq-error"] == "ValueError: no"


def test_group_runs(here: Station, celery: Celery) -> None:
    result = group(signature("wire.add", (n, n), app=celery) for n in range(3)).apply_async()

    added = [json.loads(here.ran(each.id, "added").detail) for each in result.results]
    assert added == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"chord": {"task": "wire.note"}}, "unsupported"),
        ({"serializer": "pickle"}, "unreadable"),
        ({"args": [1, 2, 3], "name": "wire.add"}, "bad_arguments"),
        ({"name": "wire.nite"}, "unknown_task"),
    ],
    ids=["chord", "pickle", "arguments", "name"],
)
def test_what_cannot_be_run_is_a_dead_letter(
    here: Station, celery: Celery, options: dict[str, Any], reason: str
) -> None:
    sent = celery.send_task(**{"name": "wire.note", **options})

    said = here.dead_letter(sent.id)
    assert said["dlq-reason"] == reason
    assert said["dlq-attempts"] == "0"
    assert sent.id not in here.ledger.ids()


def test_sender_that_imports_nothing_of_ours_needs_only_the_url(here: Station) -> None:
    try:
        distribution("taskq-kafka")
    except PackageNotFoundError:
        pytest.skip("the distribution is not installed, so it has no entry points")
    code = "from celery import Celery; import os, sys; "
    code += "app = Celery(broker=os.environ['TEST_BROKER']); "
    code += "app.conf.task_default_queue = os.environ['TEST_QUEUE']; "
    code += "print('sent', app.send_task('wire.note', args=['installed']).id)"

    sender = here.processes.python("-c", code, env={**here.environment, "PYTHONPATH": ""})

    id = sender.wait_for_line(r"^sent (\S+)", timeout=PATIENCE)[1]
    assert seen_by(here.ran(id))["args"] == ["installed"]
    assert sender.wait(timeout=PATIENCE) == 0


# We send, Celery's worker runs


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_celery_worker_runs_what_taskq_sends(away: Station, pool: str) -> None:
    # With prefork, its children are forked again and again while the parent holds clients of Kafka.
    options = ["-P", pool] if pool == "solo" else ["-P", pool, "-c", "2", "--max-tasks-per-child=2"]
    worker = away.celery_worker(*options)

    with away.app() as app:
        sent = [
            app.send_task("wire.note", (n, "é"), {"b": {"c": n}}, headers={"tenant": "ACME"}).id
            for n in range(8)
        ]
        stumbling = app.send_task("wire.stumble", (2,)).id
        high = app.send_task("wire.note", ("high",), priority=9).id

    assert seen_by(away.ran(high))["args"] == ["high"]
    seen = [seen_by(away.ran(id)) for id in sent]
    assert [each["args"] for each in seen] == [[n, "é"] for n in range(8)]
    assert [each["kwargs"] for each in seen] == [{"b": {"c": n}} for n in range(8)]
    assert {each["tenant"] for each in seen} == {"ACME"}
    away.ran(stumbling)
    for attempt in range(3):  # Celery's own retries come back through the queue
        away.ran(stumbling, f"attempt-{attempt}")
    assert worker.stop(timeout=PATIENCE) == 0
    assert "Traceback" not in worker.text


def test_later_acks_do_not_settle_an_earlier_task_of_a_killed_celery_worker(
    away: Station, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    late = {"TEST_ACKS_LATE": "1"}
    worker = away.celery_worker("-P", "threads", "-c", "2", variables=late)
    with away.app() as app:
        held = app.send_task("wire.hold", (str(gate),)).id
        others = [app.send_task("wire.note", (n,)).id for n in range(20)]
        for id in others:
            away.ran(id)
    wait_until(lambda: away.settled() == 20, timeout=PATIENCE, what="all acks but one")

    worker.kill_all()
    gate.touch()
    again = away.celery_worker("-P", "threads", "-c", "2", variables=late)

    away.ran(held)
    assert away.ledger.ids("began") == [held, held]
    with away.app() as app:
        marker = app.send_task("wire.note", ("marker",)).id
    away.ran(marker)
    assert not away.ledger.tally([*others, held, marker]).twice
    assert again.stop(timeout=PATIENCE) == 0


# Plain JSON of any program


def test_plain_json_runs(here: Station) -> None:
    id = f"plain-{here.queue}"
    document = {"task": "wire.note", "args": [1], "kwargs": {"b": "é"}, "id": id}

    here.produce([(json.dumps(document).encode(), None)])

    seen = seen_by(here.ran(id))
    assert (seen["args"], seen["kwargs"]) == ([1], {"b": "é"})


def test_plain_json_without_id_gets_its_source_as_id(here: Station) -> None:
    here.produce([(b'{"task": "wire.add", "args": [20261123]}\n', [])])

    def find() -> Entry | None:
        added = here.ledger.entries("added")
        return next((each for each in added if json.loads(each.detail)[0] == 20261123), None)

    entry = wait_until(find, timeout=PATIENCE, what="the task")
    assert entry is not None
    queue, partition, offset = entry.id.split("/")
    assert queue == here.queue
    (record,) = (
        each
        for each in here.read(here.queue)
        if (each.partition(), each.offset()) == (int(partition), int(offset))
    )
    assert b"20261123" in (record.value() or b"")


def test_plain_json_with_headers_of_another_tool_runs(here: Station) -> None:
    id = f"traced-{here.queue}"
    document = json.dumps({"task": "wire.note", "id": id}).encode()

    here.produce(
        [(document, [("traceparent", b"00-1-2-01"), ("content-type", b"application/json")])]
    )

    here.ran(id)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"hello", "unreadable"),
        (b'{"args": []}', "unreadable"),
        (b'{"task": "wire.nite"}', "unknown_task"),
        (b'{"task": "wire.add", "args": [1, 2, 3]}', "bad_arguments"),
        (b'{"task": "wire.note", "eta": "2099-01-01T00:00:00Z"}', "unsupported"),
    ],
)
def test_plain_text_that_is_no_task_is_a_dead_letter(
    here: Station, value: bytes, reason: str
) -> None:
    before = {str(each.key()) for each in here.read(f"{here.queue}.dlq")}

    here.produce([(value, None)])

    def find() -> dict[str, bytes] | None:
        new = (m for m in here.read(f"{here.queue}.dlq") if str(m.key()) not in before)
        found = next((m for m in new if m.value() == value), None)
        return None if found is None else {k: v or b"" for k, v in headers_of(found)}

    said = wait_until(find, timeout=PATIENCE, what="the dead letter")
    assert said is not None
    assert said["dlq-reason"].decode() == reason
