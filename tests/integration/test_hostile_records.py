"""500 records that no worker can run, between tasks that it can.

What goes wrong: other programs, of other versions and with other ideas, write into a queue. What must hold: each such record is a
dead letter with the right reason, byte for byte; each task between them runs once; the worker lives, and says one line for each.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pytest
from confluent_kafka import Message

from taskq.cli.main import main
from tests.support.hostile import Hostile, hostile_records, strange_records
from tests.support.kafka import Kafka
from tests.support.processes import Process
from tests.support.station import PATIENCE, Station, headers_of, station
from tests.support.waiting import wait_until

COUNT = 500
SEED = 20261123


@dataclass
class Aftermath:
    """What was sent, and what became of it."""

    place: Station
    worker: Process
    hostile: dict[str, Hostile]
    """By QUEUE/PARTITION/OFFSET."""

    good: list[str]
    """Ids."""

    touched: Path
    letters: list[Message]


@pytest.fixture(scope="module")
def aftermath(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    folder = tmp_path_factory.mktemp("hostile")
    touched = folder / "unpickled"
    hostile = hostile_records(SEED, COUNT, touched)
    strange = list(strange_records(COUNT))
    with station(kafka.bootstrap, folder, "hostile") as place:
        # A member that a slow machine holds up for longer loses its place, and what it had not settled comes again.
        place.variables["TASKQ_SESSION_TIMEOUT"] = "60"
        worker = place.worker("-c", "2")
        mixed = [
            each
            for bad, (_, value, headers) in zip_longest(hostile, strange)
            for each in ((bad.value, bad.headers), (value, headers))
        ]
        places = place.produce(mixed)
        dead = f"{place.queue}.dlq"
        place.ledger.wait_for(len(strange), timeout=PATIENCE)
        wait_until(lambda: place.written(dead) >= COUNT, timeout=PATIENCE, what="the letters")
        yield Aftermath(
            place,
            worker,
            dict(zip(places[::2], hostile, strict=True)),
            [id for id, _, _ in strange],
            touched,
            place.read(dead),
        )


def test_each_hostile_record_is_one_dead_letter(aftermath: Aftermath) -> None:
    keys = Counter((each.key() or b"").decode() for each in aftermath.letters)

    assert keys == Counter(list(aftermath.hostile))


def test_dead_letters_have_value_and_headers_byte_for_byte(aftermath: Aftermath) -> None:
    for letter in aftermath.letters:
        source = (letter.key() or b"").decode()
        sent = aftermath.hostile[source]
        headers = headers_of(letter)
        own = list(sent.headers or [])
        added = dict(headers[len(own) :])
        assert headers[: len(own)] == own, source
        assert all(name.startswith("dlq-") for name in added), source
        assert letter.value() == (sent.value or b""), source
        assert ("dlq-null-value" in added) == (sent.value is None), source


def test_dead_letters_have_the_right_reason(aftermath: Aftermath) -> None:
    wrong = []
    for letter in aftermath.letters:
        sent = aftermath.hostile[(letter.key() or b"").decode()]
        said = dict(headers_of(letter))
        if said["dlq-reason"] != sent.reason.encode():
            wrong.append((sent.kind, sent.reason, said["dlq-reason"], said["dlq-error"]))
        assert said["dlq-error"], sent.kind
        assert said["dlq-attempts"] in (b"0", b"3"), sent.kind

    assert wrong == []


def test_good_tasks_between_them_run_once(aftermath: Aftermath) -> None:
    tally = aftermath.place.ledger.tally(aftermath.good)

    assert (tally.never, tally.twice, tally.unsent) == (set(), {}, set())
    assert aftermath.place.ledger.ids("added") == []


def test_worker_lives_and_says_one_line_for_each(aftermath: Aftermath) -> None:
    def said() -> Counter[str]:
        words = aftermath.worker.text.replace(")", " ").split()
        return Counter(word for word in words if word in aftermath.hostile)

    # A line follows its letter.
    wait_until(lambda: said().total() >= COUNT, timeout=PATIENCE, what="the last line")
    lines = aftermath.worker.text.split("\n")

    assert aftermath.worker.is_running
    assert "Traceback" not in aftermath.worker.text
    assert [line for line in lines if not line.isprintable()] == []
    assert said() == Counter(list(aftermath.hostile))
    assert all(len(line) < 4000 for line in lines)


def test_nothing_was_unpickled(aftermath: Aftermath) -> None:
    assert any(each.kind == "pickled" for each in aftermath.hostile.values())
    assert not aftermath.touched.exists()


def test_everything_is_settled(aftermath: Aftermath) -> None:
    def lag() -> int:
        code, text = aftermath.place.command("queues", "--json")
        assert code == 0, text
        rows = {row["queue"]: row for row in json.loads(text)}
        return int(rows[aftermath.place.queue]["lag"])

    wait_until(lambda: lag() == 0, timeout=PATIENCE, what="the last commit")


def test_dlq_list_prints_all_of_them(aftermath: Aftermath) -> None:
    code, text = aftermath.place.command("dlq", "list", aftermath.place.queue, "--json")

    assert code == 0
    assert text.replace("\n", "").isprintable()
    rows = {row["source"]: row for row in json.loads(text)}
    reasons = {source: row["reason"] for source, row in rows.items()}
    assert reasons == {source: each.reason for source, each in aftermath.hostile.items()}


def test_dlq_list_as_a_table_cannot_move_the_cursor(aftermath: Aftermath) -> None:
    code, text = aftermath.place.command("dlq", "list", aftermath.place.queue, "--limit", "9999")

    assert code == 0
    assert text.replace("\n", "").isprintable()
    assert len(text.splitlines()) == COUNT + 1


def test_dlq_show_prints_one_of_each_kind(
    aftermath: Aftermath, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {each.kind: source for source, each in aftermath.hostile.items()}
    for name, text in aftermath.place.environment.items():
        monkeypatch.setenv(name, text)

    for number, (kind, source) in enumerate(kinds.items()):
        assert main(["dlq", "show", source]) == 0, kind
        plain = capsys.readouterr()
        assert plain.err == "", kind
        assert plain.out.replace("\n", "").replace("\t", "").isprintable(), kind
        assert f"source: {source}\n" in plain.out, kind
        if number % 5 == 0:
            assert main(["dlq", "show", "--json", source]) == 0, kind
            document = json.loads(capsys.readouterr().out)
            assert document["reason"] == aftermath.hostile[source].reason, kind
