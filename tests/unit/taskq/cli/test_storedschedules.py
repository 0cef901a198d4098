"""The commands on schedules that beats have loaded, on an app with a fake broker."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from taskq.clock import SystemClock
from taskq.instants import write_seconds
from taskq.protocols import GroupMember, GroupStatus, HeldPartition
from taskq.scheduling.occurrences import Definition, begin, delay_of
from taskq.scheduling.schedulelog import (
    Fired,
    Part,
    Pause,
    StoredState,
    definition_to_json,
    read_pause,
    write_of,
)
from tests.support.fake_broker import FakeBroker
from tests.support.owned_logs import OwnedLogs
from tests.support.schedulelog import definition
from tests.unit.taskq.cli.conftest import Taskq

NOW = SystemClock().now().replace(microsecond=0)
PAST = NOW - timedelta(hours=1)


@pytest.fixture
def broker(broker: FakeBroker) -> FakeBroker:
    """The broker of the app, with a log."""
    broker.logs = OwnedLogs()
    return broker


def store(
    broker: FakeBroker,
    load: Definition,
    *,
    cursor: datetime | None = None,
    sent: datetime | None = None,
) -> None:
    """Put a schedule into the log, and if it has come somewhere its state."""
    writes = [write_of(load.name, Part.DEFINITION, definition_to_json(load))]
    if cursor is not None:
        begun = begin(load)
        state = type(begun)(load, cursor, begun.anchor)
        fired = (Fired(cursor, sent or cursor + timedelta(milliseconds=12)),)
        writes.append(write_of(load.name, Part.STATE, StoredState(state, fired).to_json()))
    broker.logs.append(writes, timeout=1)


def pauses(broker: FakeBroker) -> Pause:
    return read_pause(broker.logs.standing[b"jobs/a#pause"])


class TestList:
    def test_it_tells_how_each_stands(self, taskq: Taskq, broker: FakeBroker) -> None:
        store(broker, definition("a", "@every 1h", PAST), cursor=NOW)
        store(broker, definition("b", "@every 60s", PAST), cursor=NOW - timedelta(minutes=5))
        store(broker, definition("c", "@daily", PAST, enabled=False))
        store(broker, definition("d", "0 0 31 2 *", PAST))
        store(broker, definition("e", "@daily", PAST, end="2020-01-01T00:00:00Z"))
        store(broker, definition("f", "@daily", PAST))
        broker.logs.append(
            [
                write_of("jobs/f", Part.PAUSE, Pause(NOW).to_json()),
                write_of("jobs/g", Part.DEFINITION, {"format": 99}),
            ],
            timeout=1,
        )

        run = taskq("schedule", "list", "--json")

        rows = {row["schedule"].removeprefix("jobs/"): row for row in run.json}
        assert {id: row["state"] for id, row in rows.items()} == {
            "a": "active",
            "b": "overdue",
            "c": "disabled",
            "d": "never",
            "e": "ended",
            "f": "paused",
            "g": "unreadable",
        }
        assert rows["a"]["last"] == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert rows["a"]["next"] == (NOW + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert rows["a"]["lateness"] == 0.012
        assert rows["a"]["words"].startswith("Every 1 h")
        assert rows["b"]["lateness"] >= 240
        assert rows["f"]["next"] is None
        assert "format 99" in rows["g"]["words"]
        assert "no beat of namespace 'jobs' runs" in run.err

    def test_its_times_are_those_of_the_sending(self, taskq: Taskq, broker: FakeBroker) -> None:
        load = definition("a", "@every 1h", PAST, jitter=3000)
        sent = NOW + delay_of(load)
        assert sent - NOW > timedelta(seconds=1)
        store(broker, load, cursor=NOW, sent=sent)

        (row,) = taskq("schedule", "list", "--json").json

        assert row["last"] == write_seconds(sent)
        assert row["next"] == write_seconds(sent + timedelta(hours=1))
        assert row["lateness"] == 0

    def test_it_is_a_table_for_people(self, taskq: Taskq, broker: FakeBroker) -> None:
        store(broker, definition("a", "@every 1h", NOW))

        heading, line = taskq("schedule", "list").out.splitlines()

        assert heading.split()[:4] == ["SCHEDULE", "STATE", "TASK", "LAST"]
        assert line.split()[:4] == ["jobs/a", "active", "t", "-"]

    def test_running_beat_is_not_said_to_be_missing(self, taskq: Taskq, broker: FakeBroker) -> None:
        store(broker, definition("a", "@every 60s", PAST))
        member = GroupMember("id", "here", "/127.0.0.1", {})
        broker.admin.members = GroupStatus("taskq-beat-jobs", "consumer", (member,))

        assert taskq("schedule", "list").err == ""

    def test_namespace_leaves_others_out(self, taskq: Taskq, broker: FakeBroker) -> None:
        store(broker, definition("a", "@every 1h", NOW))

        run = taskq("schedule", "list", "--namespace", "team")

        assert run.out == ""
        assert "no schedules are loaded in namespace 'team'" in run.err


class TestPause:
    def test_pause_and_resume_are_written_for_the_owner(
        self, taskq: Taskq, broker: FakeBroker
    ) -> None:
        store(broker, definition("a"))

        paused = taskq("schedule", "pause", "a")
        first = pauses(broker)
        resumed = taskq("schedule", "resume", "jobs/a")
        second = pauses(broker)

        assert (paused.out, resumed.out) == ("jobs/a is paused\n", "jobs/a is active\n")
        assert first.until is None
        assert second.since == first.since
        assert second.until is not None

    @pytest.mark.parametrize("command", ["pause", "resume"])
    def test_what_is_so_already_is_left_so(
        self, taskq: Taskq, broker: FakeBroker, command: str
    ) -> None:
        store(broker, definition("a"))
        if command == "pause":
            taskq("schedule", "pause", "a")
        count = len(broker.logs.records)

        run = taskq("schedule", command, "a", "--json")

        assert run.code == 0
        assert run.json["changed"] is False
        assert len(broker.logs.records) == count


class TestTrigger:
    def test_task_is_sent_now_under_a_name_of_its_own(
        self, taskq: Taskq, broker: FakeBroker
    ) -> None:
        store(broker, definition("a", "@yearly", args=[1], queue="billing", key="K", expires=60))

        run = taskq("schedule", "trigger", "a")

        (message,) = broker.sent
        headers = {name: value.decode() for name, value in message.headers}
        assert run.out == f"{headers['id']}\n"
        scheduled_for = headers["scheduled_for"]
        assert headers["id"].startswith(f"jobs/a@{scheduled_for}+trigger-")
        at = datetime.fromisoformat(scheduled_for.replace("Z", "+00:00"))
        assert at >= NOW
        assert (message.queue, message.key) == ("billing", b"K")
        assert json.loads(message.value)[0] == [1]
        assert "expires" in headers
        assert b"jobs/a#state" not in broker.logs.standing

    def test_two_have_two_names(self, taskq: Taskq, broker: FakeBroker) -> None:
        store(broker, definition("a"))

        assert taskq("schedule", "trigger", "a").out != taskq("schedule", "trigger", "a").out

    def test_what_was_not_acknowledged_is_an_error(self, taskq: Taskq, broker: FakeBroker) -> None:
        store(broker, definition("a"))
        broker.publisher.fails = lambda message: TimeoutError("no answer")

        run = taskq("schedule", "trigger", "a")

        assert run.code == 1
        assert "may have been sent" in run.err


class TestHistory:
    def test_last_occurrences_are_told(self, taskq: Taskq, broker: FakeBroker) -> None:
        at = datetime(2026, 11, 23, 18, tzinfo=timezone.utc)
        store(broker, definition("a", "@hourly"), cursor=at)

        rows = taskq("schedule", "history", "a", "--json").json

        assert rows == [
            {
                "id": "jobs/a@2026-11-23T18:00:00Z",
                "planned": "2026-11-23T18:00:00Z",
                "sent": "2026-11-23T18:00:00.012000Z",
                "lateness": 0.012,
            }
        ]

    def test_schedule_that_has_sent_nothing_has_none(
        self, taskq: Taskq, broker: FakeBroker
    ) -> None:
        store(broker, definition("a"))

        assert taskq("schedule", "history", "a", "--json").json == []


class TestNames:
    @pytest.mark.parametrize("command", ["pause", "resume", "trigger", "history"])
    def test_unknown_id_is_an_error_with_the_nearest(
        self, taskq: Taskq, broker: FakeBroker, command: str
    ) -> None:
        store(broker, definition("invoice"))

        run = taskq("schedule", command, "invoce")

        assert run.code == 1
        assert "no schedule has the id 'invoce'; did you mean 'invoice'?" in run.err
        assert "did you mean 'jobs/invoice'?" in taskq("schedule", command, "job/invoice").err

    def test_id_of_several_namespaces_wants_one(self, taskq: Taskq, broker: FakeBroker) -> None:
        store(broker, definition("a"))
        other = definition("a")
        team = Definition(other.entry, "team", other.effective_from, other.origin)
        store(broker, team)

        assert taskq("schedule", "pause", "a").code == 2
        assert taskq("schedule", "pause", "team/a").code == 0
        assert taskq("schedule", "pause", "a", "--namespace", "jobs").code == 0

    def test_one_of_a_newer_format_is_left_untouched(
        self, taskq: Taskq, broker: FakeBroker
    ) -> None:
        broker.logs.append([write_of("jobs/a", Part.DEFINITION, {"format": 99})], timeout=1)

        run = taskq("schedule", "pause", "a")

        assert run.code == 1
        assert "format 99" in run.err
        assert len(broker.logs.records) == 1


class TestOpenTransaction:
    """One in the log hides what was written behind it."""

    @pytest.fixture(autouse=True)
    def held(self, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("taskq.cli.heldup._LOOK_AGAIN", 0.0)
        since_ms = int(PAST.timestamp() * 1000)
        broker.admin.held = [HeldPartition("taskq.schedules", 3, 7, 2, since_ms)]

    def test_list_says_so_instead_of_that_nothing_is_loaded(self, taskq: Taskq) -> None:
        run = taskq("schedule", "list")

        assert "no schedules are loaded" not in run.err
        assert "the log taskq.schedules could not be read to its end" in run.err
        assert f"since {write_seconds(PAST)} (1h " in run.err

    @pytest.mark.parametrize(
        "command", [("pause", "a"), ("trigger", "a"), ("remove", "--yes", "--source", "a.json")]
    )
    def test_unknown_id_may_stand_behind_it(self, taskq: Taskq, command: tuple[str, ...]) -> None:
        run = taskq("schedule", *command)

        assert run.code == 1
        assert "could not be read to its end" in run.err

    def test_list_that_looks_well_asks_no_more(self, taskq: Taskq, broker: FakeBroker) -> None:
        store(broker, definition("a", "@every 1h", NOW))

        assert taskq("schedule", "list").err == ""


def test_broker_that_is_away_is_unreachable(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.is_reachable = False

    assert taskq("schedule", "list").code == 3


class TestDoctor:
    def test_it_names_a_namespace_whose_schedules_nobody_sends(
        self, taskq: Taskq, broker: FakeBroker
    ) -> None:
        store(broker, definition("a", "@every 60s", PAST))

        run = taskq("doctor", "--json")

        (row,) = [each for each in run.json if each["subject"] == "schedules of jobs"]
        assert (run.code, row["level"]) == (1, "problem")
        assert row["finding"].startswith("1 in force, 1 overdue, the first for ")
        assert "no beat of this namespace runs" in row["finding"]
