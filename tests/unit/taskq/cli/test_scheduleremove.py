"""`taskq schedule remove`, on an app with a fake broker."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from taskq.clock import SystemClock
from taskq.protocols import GroupMember, GroupStatus
from taskq.scheduling.schedulelog import (
    Load,
    Manifest,
    Part,
    definition_to_json,
    manifest_write,
    read_shelf,
    write_of,
)
from tests.support.fake_broker import FakeBroker
from tests.support.owned_logs import OwnedLogs
from tests.support.schedulelog import definition
from tests.unit.taskq.cli.conftest import Taskq


@pytest.fixture
def broker(broker: FakeBroker) -> FakeBroker:
    """The broker of the app, with a log of two files, and code, in one namespace."""
    broker.logs = OwnedLogs()
    store(broker, "file:1.json", ["invoice", "report"])
    store(broker, "file:2.json", ["clean"])
    store(broker, "code:shop", ["stock"])
    return broker


def store(broker: FakeBroker, origin: str, ids: Sequence[str], *, namespace: str = "jobs") -> None:
    """Put what a load of a source writes into the log."""
    for id in ids:
        load = replace(definition(id), origin=origin, namespace=namespace)
        write = write_of(load.name, Part.DEFINITION, definition_to_json(load))
        broker.logs.append([write], timeout=1)
    manifest = Manifest(Load("digest", "here", 7, SystemClock().now()), tuple(sorted(ids)))
    broker.logs.append([manifest_write(namespace, origin, manifest)], timeout=1)


def left(broker: FakeBroker) -> list[str]:
    return list(read_shelf(broker.logs.records, "jobs").definitions())


def test_schedules_are_removed_by_id(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("schedule", "remove", "invoice", "jobs/clean", "--yes")

    assert (run.code, run.out) == (0, "removed 2 schedules: jobs/clean, jobs/invoice\n")
    assert left(broker) == ["report", "stock"]


def test_removed_ids_are_taken_off_the_lists_so_that_a_beat_that_has_them_notices(
    taskq: Taskq, broker: FakeBroker
) -> None:
    taskq("schedule", "remove", "invoice", "--yes")

    assert read_shelf(broker.logs.records, "jobs").manifests["file:1.json"].ids == ("report",)


@pytest.mark.parametrize(
    ("source", "gone"),
    [
        ("1.json", ["invoice", "report"]),
        ("file:1.json", ["invoice", "report"]),
        ("/etc/1.json", ["invoice", "report"]),
        ("shop", ["stock"]),
        ("code:shop", ["stock"]),
    ],
)
def test_all_of_a_source_is_removed_with_its_manifest(
    taskq: Taskq, broker: FakeBroker, source: str, gone: list[str]
) -> None:
    before = left(broker)

    run = taskq("schedule", "remove", "--source", source, "--yes", "--json")

    assert run.json == [{"schedule": f"jobs/{id}"} for id in gone]
    assert left(broker) == [id for id in before if id not in gone]
    assert len(read_shelf(broker.logs.records, "jobs").manifests) == 2


def test_several_sources_are_removed_at_once(taskq: Taskq, broker: FakeBroker) -> None:
    taskq("schedule", "remove", "--source", "1.json", "--source", "code:shop", "--yes")

    assert left(broker) == ["clean"]


def test_what_a_running_beat_may_have_still_is_told(taskq: Taskq, broker: FakeBroker) -> None:
    member = GroupMember("id", "here", "/127.0.0.1", {})
    broker.admin.members = GroupStatus("taskq-beat-jobs", "consumer", (member,))

    run = taskq("schedule", "remove", "invoice", "--yes")

    assert run.code == 0
    assert "a beat of namespace 'jobs' runs; if it still has 1.json" in run.err


def test_where_no_beat_runs_nothing_is_told(taskq: Taskq, broker: FakeBroker) -> None:
    assert taskq("schedule", "remove", "invoice", "--yes").err == ""


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("invoce",), "no schedule has the id 'invoce'; did you mean 'invoice'?"),
        (("--source", "2.jsn"), "no schedules came from '2.jsn'; did you mean '2.json'?"),
        (("--source", "elsewhere"), "there are 1.json, 2.json, code:shop"),
    ],
)
def test_unknown_name_is_an_error_with_the_nearest(
    taskq: Taskq, broker: FakeBroker, arguments: tuple[str, ...], hint: str
) -> None:
    run = taskq("schedule", "remove", *arguments, "--yes")

    assert run.code == 1
    assert hint in run.err
    assert len(left(broker)) == 4


def test_one_unknown_id_of_several_removes_nothing(taskq: Taskq, broker: FakeBroker) -> None:
    assert taskq("schedule", "remove", "clean", "invoce", "--yes").code == 1
    assert len(left(broker)) == 4


def test_source_of_several_namespaces_wants_one(taskq: Taskq, broker: FakeBroker) -> None:
    store(broker, "file:1.json", ["x"], namespace="team")

    run = taskq("schedule", "remove", "--source", "1.json", "--yes")

    assert run.code == 2
    assert "the namespaces jobs, team" in run.err
    chosen = taskq("schedule", "remove", "--source", "1.json", "--yes", "--namespace", "jobs")
    assert chosen.code == 0


@pytest.mark.parametrize("arguments", [(), ("clean", "--source", "2.json")])
def test_ids_or_a_source_are_wanted(
    taskq: Taskq, broker: FakeBroker, arguments: tuple[str, ...]
) -> None:
    assert taskq("schedule", "remove", *arguments, "--yes").code == 2


def test_without_somebody_to_ask_it_wants_yes(
    taskq: Taskq, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)

    run = taskq("schedule", "remove", "clean")

    assert run.code == 2
    assert "add --yes" in run.err
    assert "clean" in left(broker)


@pytest.mark.parametrize(("answer", "code", "is_left"), [("y", 0, False), ("n", 1, True)])
def test_a_person_is_asked(
    taskq: Taskq,
    broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    is_left: bool,
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: answer)

    run = taskq("schedule", "remove", "clean")

    assert (run.code, "clean" in left(broker)) == (code, is_left)


def test_one_of_a_newer_format_is_left_untouched(taskq: Taskq, broker: FakeBroker) -> None:
    broker.logs.append([write_of("jobs/n", Part.DEFINITION, {"format": 99})], timeout=1)

    run = taskq("schedule", "remove", "n", "--yes")

    assert run.code == 1
    assert "format 99" in run.err
    assert b"jobs/n" in broker.logs.standing


def test_one_that_nobody_can_read_can_be_removed(taskq: Taskq, broker: FakeBroker) -> None:
    broker.logs.append([write_of("jobs/n", Part.DEFINITION, {"format": 1})], timeout=1)

    assert taskq("schedule", "remove", "n", "--yes").code == 0
    assert b"jobs/n" not in broker.logs.standing
