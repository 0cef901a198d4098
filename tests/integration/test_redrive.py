"""Dead letters that go back to their queue, on a real Kafka: what a worker gets, and what disturbs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from taskq import protocols
from taskq.protocols import Removal
from taskq_kafka.admin import Admin
from taskq_kafka.mover import Mover
from taskq_kafka.options import TransportOptions
from tests.support.commands import Taskq
from tests.support.faults import Stage
from tests.support.frames import ApiKey
from tests.support.kafka import QUIET, Kafka, admin, set_topic
from tests.support.processes import Process
from tests.support.proxy import Proxy
from tests.support.station import PATIENCE, Station, headers_of, station
from tests.support.waiting import pause, wait_until

OLD = """
from taskq import current_request, task

@task("other")
def other(): ...
"""
NEW = f"""{OLD}
@task("report")
def report(name):
    print("ran", name, current_request().headers["redriven"], flush=True)
"""


@pytest.fixture
def place(kafka: Kafka, tmp_path: Path) -> Iterator[Station]:
    with station(kafka.bootstrap, tmp_path, "redrive") as place:
        yield place


@pytest.fixture
def taskq(place: Station) -> Taskq:
    return Taskq(place)


def produce(place: Station, topic: str, value: bytes | None, key: bytes) -> None:
    producer = Producer({"bootstrap.servers": place.bootstrap, "logger": QUIET})
    producer.produce(topic, value, key, headers={"dlq-reason": b"failed"})
    assert producer.flush(PATIENCE) == 0


def worker_of(place: Station, code: str) -> Process:
    (place.folder / "reports.py").write_text(code)
    worker = place.processes.taskq(
        *("worker", "-A", "reports", "-c", "1", "-P", "threads"),
        cwd=place.folder,
        env=place.environment,
    )
    worker.wait_for_line("ready", timeout=PATIENCE)
    return worker


def test_a_task_that_old_workers_do_not_know_runs_after_the_new_ones_have_come(
    place: Station, taskq: Taskq
) -> None:
    old = worker_of(place, OLD)
    for number in range(3):
        assert (
            taskq("send", "report", "-a", f'["r{number}"]', "--task-id", f"id-{number}").code == 0
        )
    wait_until(
        lambda: len(taskq("dlq", "list", place.queue, "--json").json) == 3,
        timeout=PATIENCE,
        what="three dead letters",
    )
    assert old.stop() == 0

    new = worker_of(place, NEW)
    done = taskq("dlq", "redrive", place.queue, "--reason", "unknown_task", "--yes", "-l", "info")

    assert (done.code, done.out) == (0, f"redriven 3 dead letters of queue {place.queue}\n")
    assert done.err.count("redriven dead letter report[id-") == 3
    for number in range(3):
        new.wait_for_line(f"ran r{number} 1", timeout=PATIENCE)
    assert taskq("dlq", "list", place.queue, "--json").json == []
    assert new.stop() == 0


def test_a_record_of_any_bytes_comes_back_with_its_key_and_says_where_from(
    place: Station, taskq: Taskq
) -> None:
    hostile: list[tuple[str, bytes | None]] = [("task", b"\xff"), ("id", b"x"), ("null", None)]
    worker = place.worker("-c", "1", "-P", "threads")
    [source] = place.produce([(b"\x80\x81", hostile)])
    place.dead_letter("x")
    assert worker.stop() == 0

    done = taskq("dlq", "redrive", place.queue, "--id", source, "--yes", "--note", "für später")

    assert done.code == 0, done
    *_, back = sorted(place.read(place.queue), key=lambda record: record.timestamp()[1])
    assert back.value() == b"\x80\x81"
    assert headers_of(back) == [
        *hostile,
        ("redriven", b"1"),
        ("redriven-from", source.encode()),
    ]
    [tombstone] = [each for each in place.read(f"{place.queue}.dlq") if each.value() is None]
    note = dict(headers_of(tombstone))
    assert tombstone.key() == source.encode()
    assert (note["dlq-action"], note["dlq-note"]) == (b"redriven", "für später".encode())


def test_a_task_that_fails_again_is_a_letter_that_knows_it(place: Station, taskq: Taskq) -> None:
    worker = place.worker("-c", "1", "-P", "threads")
    id = taskq("send", "wire.fail", "-a", '["no"]', "--key", "k").out.strip()
    first = place.dead_letter(id)

    [row] = taskq("dlq", "list", place.queue, "--json").json
    assert taskq("dlq", "redrive", place.queue, "--id", id, "--yes").code == 0

    def next_letter() -> bool:
        rows = taskq("dlq", "list", place.queue, "--json").json
        return bool(rows) and rows[0]["source"] != row["source"]

    wait_until(next_letter, timeout=PATIENCE, what="its next letter")
    shown = taskq("dlq", "show", place.queue, id, "--json").json
    assert first["dlq-version"] == "1"
    assert (shown["redriven"], shown["attempts"]) == (1, 1)
    assert shown["details"]["source-key"] == "k"
    assert worker.stop() == 0


def test_tombstones_stand_beside_their_letters_after_the_topic_has_grown(
    kafka: Kafka, place: Station, taskq: Taskq
) -> None:
    kafka.create_topic(f"{place.queue}.dlq", partitions=2)
    for number in range(20):
        produce(place, f"{place.queue}.dlq", b"[]", f"{place.queue}/0/{number}".encode())
    client = admin(place.bootstrap)
    client.create_partitions([NewPartitions(f"{place.queue}.dlq", 7)])[f"{place.queue}.dlq"].result(
        PATIENCE
    )

    done = taskq("dlq", "redrive", place.queue, "--all", "--yes")

    assert done.out == f"redriven 20 dead letters of queue {place.queue}\n"
    records = place.read(f"{place.queue}.dlq")
    stood = {each.key(): each.partition() for each in records if each.value() is not None}
    gone = {each.key(): each.partition() for each in records if each.value() is None}
    assert stood == gone
    assert len(place.read(place.queue)) == 20


def test_a_task_that_its_queue_refused_when_its_time_had_come_runs_once_it_is_sent_again(
    kafka: Kafka, place: Station, taskq: Taskq
) -> None:
    place.variables["TASKQ_PREFIX"] = prefix = f"{place.queue}-"
    topic = f"{prefix}{place.queue}"
    kafka.create_topic(topic, config={"max.message.bytes": "2000"})
    text = "".join(map(str, range(1_500)))
    worker = place.worker("-c", "1", "-P", "threads")
    sent = taskq("send", "wire.note", "-a", f'["{text}"]', "--countdown", "0.1", "--task-id", "big")
    assert sent.code == 0, sent
    wait_until(
        lambda: len(taskq("dlq", "list", "taskq.timers", "--json").json) == 1,
        timeout=PATIENCE,
        what="its letter",
    )

    [letter] = taskq("dlq", "list", "taskq.timers", "--json").json
    refused = taskq("dlq", "redrive", "taskq.timers", "--id", "big", "--yes")
    set_topic(kafka.bootstrap, topic, max_message_bytes="100000")
    done = taskq("dlq", "redrive", "taskq.timers", "--all", "--yes")

    assert (letter["task"], letter["reason"]) == ("wire.note", "refused")
    assert (refused.code, done.code) == (1, 0), (refused, done)
    assert done.out == "redriven 1 dead letter of queue taskq.timers\n"
    worker.wait_for_line(r"task wire.note\[big\] succeeded", timeout=PATIENCE)
    assert taskq("dlq", "list", "taskq.timers", "--json").json == []


def test_another_programs_open_transaction_is_waited_for(
    kafka: Kafka, proxied_kafka: Proxy, place: Station, taskq: Taskq
) -> None:
    kafka.create_topic(f"{place.queue}.dlq", partitions=1)
    produce(place, f"{place.queue}.dlq", b"[]", f"{place.queue}/0/1".encode())
    other = Producer(
        {
            "bootstrap.servers": place.bootstrap,
            "transactional.id": place.queue,
            "transaction.timeout.ms": 600_000,  # longer than the commands take that are to see it
            "logger": QUIET,
        }
    )
    other.init_transactions(PATIENCE)
    other.begin_transaction()
    other.produce(f"{place.queue}.dlq", b"[]", f"{place.queue}/0/2".encode())
    other.flush(PATIENCE)
    # Behind it, a tombstone that no reader of what is committed sees before the transaction ends.
    produce(place, f"{place.queue}.dlq", None, f"{place.queue}/0/1".encode())

    listed = taskq("dlq", "list", place.queue, "--json").json
    with ThreadPoolExecutor(1) as pool:
        redrive = pool.submit(
            partial(taskq, TASKQ_BROKER=proxied_kafka.bootstrap),
            *("dlq", "redrive", place.queue, "--all", "--yes"),
        )
        proxied_kafka.wait_for(ApiKey.FETCH, stage=Stage.ANSWER, timeout=PATIENCE)
        other.abort_transaction(PATIENCE)
        done = redrive.result(PATIENCE)

    assert [row["source"] for row in listed] == [f"{place.queue}/0/1"]
    assert (done.code, done.out) == (0, f"redriven 0 dead letters of queue {place.queue}\n"), done
    assert place.read(place.queue) == []


def test_largest_record_of_a_queue_goes_back_though_it_grows_by_two_headers(
    place: Station, taskq: Taskq
) -> None:
    largest = b'{"task": "' + b"x" * 1_044_000 + b'"}'
    worker = place.worker("-c", "1", "-P", "threads")
    [source] = place.produce([(largest, None)])
    wait_until(
        lambda: taskq("dlq", "list", place.queue, "--json").json,
        timeout=PATIENCE,
        what="its letter",
    )
    assert worker.stop() == 0

    done = taskq("dlq", "redrive", place.queue, "--id", source, "--yes")

    assert (done.code, done.err) == (0, ""), done
    assert [each.value() for each in place.read(place.queue)] == [largest, largest]


def test_a_missing_queue_is_named_where_topics_are_not_made(
    kafka: Kafka, place: Station, taskq: Taskq
) -> None:
    place.variables["TASKQ_AUTO_CREATE"] = "false"
    kafka.create_topic(f"{place.queue}.dlq", partitions=1)
    produce(place, f"{place.queue}.dlq", b"[]", f"{place.queue}/0/1".encode())

    done = taskq("dlq", "redrive", place.queue, "--all", "--yes")

    assert (done.code, done.out) == (2, "")
    assert f"topic '{place.queue}' does not exist" in done.err
    assert done.err.count("\n") == 1
    assert len(taskq("dlq", "list", place.queue, "--json").json) == 1


def test_one_that_is_fenced_while_it_still_writes_knows_why(
    kafka: Kafka, place: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.create_topic(f"{place.queue}.dlq", partitions=1)
    for number in range(2):
        produce(place, f"{place.queue}.dlq", b"[]", f"{place.queue}/0/{number}".encode())
    admin_of = cast(protocols.Admin, Admin(TransportOptions(bootstrap=place.bootstrap)))
    earlier = admin_of.move_dead_letters(place.queue, timeout=PATIENCE)
    removals = [Removal(letter) for letter in earlier.letters(timeout=PATIENCE)]
    later = admin_of.move_dead_letters(place.queue, timeout=PATIENCE)
    write = Mover._write

    def write_slowly(mover: Mover, removal: Removal) -> None:
        write(mover, removal)
        pause(0.5)  # the client hears of it, and refuses the next record

    monkeypatch.setattr(Mover, "_write", write_slowly)

    assert not earlier.move(removals, timeout=PATIENCE)
    assert later.move(removals, timeout=PATIENCE)
    earlier.close()
    later.close()


@pytest.mark.parametrize("command", ["redrive", "discard"])
def test_without_a_broker_the_code_is_3(taskq: Taskq, command: str) -> None:
    done = taskq(
        *("dlq", command, "q", "--all", "--yes", "-b", "127.0.0.1:1"), TASKQ_CONNECT_TIMEOUT="1"
    )

    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert "127.0.0.1:1" in done.err
