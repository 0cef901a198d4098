"""Beat: loads its sources, owns their schedules with others, reloads, and ends with everything handed over."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskq.errors import BrokerRefused, BrokerUnreachable, ScheduleFileError, UsageError
from taskq.protocols import GroupMember, GroupStatus
from taskq.scheduling.beat import Beat
from taskq.scheduling.schedulelog import read_shelf
from taskq.scheduling.scheduleremoval import removal_of_ids
from tests.support.clock import START, FakeClock
from tests.support.fake_broker import attach, isolated_app
from tests.support.owned_logs import OwnedLogs
from tests.support.waiting import wait_until


class SetClock(FakeClock):
    """A clock that may be set."""

    shift = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.shift


class Bench:
    """Beats with a file, logs in memory and a clock that the test moves."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "jobs.json"
        self.app, self.broker = isolated_app()
        self.broker.logs = OwnedLogs()
        self.clock = SetClock()
        self.beats: list[Beat] = []

    @property
    def logs(self) -> OwnedLogs:
        logs: OwnedLogs = self.broker.logs
        return logs

    def write(self, *items: dict[str, Any], path: Path | None = None) -> None:
        filled = [{"cron": "* * * * * *", "task": "t", **item} for item in items]
        (path or self.path).write_text(json.dumps(filled), "utf-8")

    def beat(self, *files: Path, **options: Any) -> Beat:
        paths = [str(path) for path in files or (self.path,)]
        beat = Beat(self.app, paths, clock=self.clock, **options)
        self.beats.append(beat)
        beat.start()
        return beat

    def sent_by(self, count: int) -> list[str]:
        """Wait for so many occurrences; return the ids of all."""
        self.logs.wait_for_ids(lambda ids: len(ids) >= count)
        return sorted(self.logs.ids)

    def close(self) -> None:
        for beat in self.beats:
            beat._end()


def ids(count: int, name: str = "jobs/a", start: int = 1) -> list[str]:
    planned = (START + timedelta(seconds=n) for n in range(start, start + count))
    return [f"{name}@{at:%Y-%m-%dT%H:%M:%SZ}" for at in planned]


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.event for record in caplog.records if hasattr(record, "event")]


@pytest.fixture
def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Bench]:
    caplog.set_level(logging.DEBUG, "taskq")
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_each_second_is_sent_once(bench: Bench) -> None:
    bench.write({"id": "a"})
    bench.beat()

    for _ in range(7):
        bench.clock.advance(0.5)

    assert bench.sent_by(3) == ids(3)


def test_message_carries_what_the_entry_says(bench: Bench) -> None:
    bench.write(
        {
            "id": "a",
            "args": [1],
            "kwargs": {"x": "ü"},
            "queue": "billing",
            "key": "ACME",
            "expires": 30,
            "headers": {"tenant": "ACME", "level": 3},
        }
    )
    bench.beat()
    bench.clock.advance(1.5)
    bench.sent_by(1)

    message = bench.logs.sent[0]
    headers = dict(message.headers)
    assert (message.queue, message.key) == ("billing", b"ACME")
    assert json.loads(message.value)[:2] == [[1], {"x": "ü"}]
    assert headers["task"] == b"t"
    assert headers["scheduled_for"] == b"2026-11-23T17:00:01Z"
    assert headers["expires"] == b"2026-11-23T17:00:31+00:00"
    assert (headers["tenant"], headers["level"]) == (b"ACME", b"3")


def test_queue_is_the_tasks_own_or_the_default(bench: Bench) -> None:
    bench.app.task("known", queue="own")(lambda: None)
    bench.write({"id": "a", "task": "known"}, {"id": "b", "task": "unknown"})
    bench.beat()
    bench.clock.advance(1.5)
    bench.sent_by(2)

    assert sorted(message.queue for message in bench.logs.sent) == ["own", "taskq"]


def test_two_beats_send_each_once_and_the_second_goes_on_alone(bench: Bench) -> None:
    bench.write({"id": "a"})
    first, second = bench.beat(), bench.beat()
    bench.clock.advance(2)
    bench.sent_by(2)

    assert first._end() == 0
    bench.clock.advance(2)

    assert bench.sent_by(4) == ids(4)
    assert second is not first


def test_every_keeps_its_phase_across_a_restart(bench: Bench) -> None:
    bench.write({"id": "a", "cron": "@every 10s"})
    bench.beat()._end()
    bench.clock.advance(13)

    bench.beat()
    bench.clock.advance(8)

    assert bench.sent_by(2) == [*ids(1, start=10), *ids(1, start=20)]


class TestReload:
    def test_changed_file_is_in_force_after_a_turn(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"}, {"id": "b"})
        beat = bench.beat()
        bench.clock.advance(1)
        bench.sent_by(2)

        bench.write({"id": "a", "args": [2]}, {"id": "c"})
        beat.turn()
        bench.clock.advance(1)

        assert bench.sent_by(4)[-1] == "jobs/c@2026-11-23T17:00:02Z"
        assert "jobs/b@2026-11-23T17:00:02Z" not in bench.logs.ids
        changed = [
            json.loads(message.value)[0]
            for message in bench.logs.sent
            if dict(message.headers)["id"] == b"jobs/a@2026-11-23T17:00:02Z"
        ]
        assert changed == [[2]]
        assert {"schedule.added", "schedule.changed", "schedule.removed"} <= set(events(caplog))

    @pytest.mark.parametrize("content", ["[", None])
    def test_wrong_or_missing_file_changes_nothing_and_is_told_once(
        self, bench: Bench, caplog: pytest.LogCaptureFixture, content: str | None
    ) -> None:
        bench.write({"id": "a"})
        beat = bench.beat()
        if content is None:
            bench.path.unlink()
        else:
            bench.path.write_text(content, "utf-8")

        for _ in range(5):
            beat.turn()
        bench.clock.advance(2)

        assert bench.sent_by(2) == ids(2)
        assert events(caplog).count("schedule.load_failed") == 1

    def test_file_that_would_remove_all_is_refused(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"})
        beat = bench.beat()
        bench.write({"id": "b"})

        beat.turn()
        bench.clock.advance(1)

        assert bench.sent_by(1) == ids(1)
        failed = [r for r in caplog.records if getattr(r, "event", "") == "schedule.load_failed"]
        assert "--replace" in failed[0].getMessage()

    def test_replace_allows_it(self, bench: Bench) -> None:
        bench.write({"id": "a"})
        beat = bench.beat(replace=True)
        bench.write({"id": "b"})

        beat.turn()
        bench.clock.advance(1)

        assert bench.sent_by(1) == ids(1, "jobs/b")

    def test_change_while_the_broker_is_away_is_loaded_when_it_is_back(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"})
        beat = bench.beat()
        bench.write({"id": "a"}, {"id": "b"})
        bench.logs.refusal = ConnectionError("away")
        beat.turn()
        bench.logs.refusal = None

        beat.turn()
        bench.clock.advance(1)

        assert bench.sent_by(2) == [*ids(1), *ids(1, "jobs/b")]
        assert "schedule.file_usable" in events(caplog)

    def test_schedule_that_moves_to_another_file_is_taken_once_the_first_has_let_go(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        other = tmp_path / "other.json"
        bench.write({"id": "stays"}, {"id": "moves"})
        bench.write({"id": "old"}, path=other)
        beat = bench.beat(other, bench.path, namespace="n")

        bench.write({"id": "old"}, {"id": "moves"}, path=other)
        bench.write({"id": "stays"})
        beat.turn()
        beat.turn()
        bench.clock.advance(1)

        names = {id.partition("@")[0] for id in bench.sent_by(3)}
        assert names == {"n/old", "n/moves", "n/stays"}


class TestOtherBeats:
    def test_file_that_is_not_in_force_any_more_is_told_once(
        self, bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.write({"id": "a"})
        beat = bench.beat()
        monkeypatch.setattr("taskq.scheduling.beat.os.getpid", lambda: 7)
        attach_again(bench, pid=7)
        bench.write({"id": "a", "args": [1]})
        bench.beat()
        bench.write({"id": "a"})  # as the first beat's file still is
        monkeypatch.undo()

        for _ in range(3):
            look_again(bench, beat)

        assert events(caplog).count("schedule.not_in_force") == 1

    def test_other_schedules_than_those_of_a_running_beat_want_another_namespace(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.write({"id": "a"})
        bench.beat()
        bench.write({"id": "z"})
        monkeypatch.setattr("taskq.scheduling.beat.socket.gethostname", lambda: "elsewhere")
        member = GroupMember("id", "here", "/127.0.0.1", {})
        bench.broker.admin.members = GroupStatus("taskq-beat-jobs", "consumer", (member,))

        with pytest.raises(UsageError, match="--namespace"):
            bench.beat()

    def test_two_files_with_one_id_come_to_rest_and_the_loser_says_so(
        self, bench: Bench, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        first, second = two_files(bench, tmp_path)
        beats = [bench.beat(path, namespace="jobs") for path in (first, second)]
        look_again(bench, *beats, times=2)
        manifests = manifests_of(bench)

        look_again(bench, *beats, times=5)

        assert manifests_of(bench) == manifests
        assert [record.levelname for record in shared_lines(caplog)] == ["ERROR"]
        assert "the id 'x' of" in shared_lines(caplog)[0].getMessage()
        assert "is also in 2.json; the one that was loaded last counts" in caplog.text

    @pytest.mark.parametrize("first_looks", ["before", "after"])
    def test_id_that_leaves_one_file_and_stands_in_another_goes_on_without_a_gap(
        self, bench: Bench, tmp_path: Path, first_looks: str
    ) -> None:
        first, second = two_files(bench, tmp_path)
        one, two = (bench.beat(path, namespace="jobs") for path in (first, second))
        look_again(bench, one, two, times=2)
        bench.write({"id": "b", "cron": "@yearly"}, path=second)

        two.turn()
        bench.write({"id": "b", "cron": "@yearly", "args": [1]}, path=second)
        two.turn()  # once more before the other one looks
        beats = [one, two] if first_looks == "before" else [two, one]
        look_again(bench, *beats, times=4)

        definition = json.loads(bench.logs.standing[b"jobs/x"])
        assert definition["origin"] == "file:1.json"
        count = 6 * 40
        assert bench.sent_by(count) == ids(count, "jobs/x")

    def test_id_of_a_file_that_was_renamed_is_removed_with_its_entry(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        first, second = two_files(bench, tmp_path)
        one = bench.beat(first, namespace="jobs")
        one._end()
        two = bench.beat(second, namespace="jobs")
        bench.write({"id": "b", "cron": "@yearly"}, path=second)
        two.turn()
        assert b"jobs/x" in bench.logs.standing

        look_again(bench, two, times=3)

        assert b"jobs/x" not in bench.logs.standing

    def test_what_a_person_removes_of_a_file_in_use_comes_back(self, bench: Bench) -> None:
        bench.write({"id": "a"}, {"id": "b"})
        beat = bench.beat()
        look_again(bench, beat)
        shelf = read_shelf(bench.logs.records, "jobs")
        bench.logs.append(removal_of_ids(shelf, ["a"]).writes, timeout=1)
        assert b"jobs/a" not in bench.logs.standing

        look_again(bench, beat)

        assert b"jobs/a" in bench.logs.standing

    def test_sources_that_a_beat_does_not_load_are_told_once(
        self, bench: Bench, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        first, _ = two_files(bench, tmp_path)
        bench.beat(first, namespace="jobs")._end()

        beat = bench.beat(tmp_path / "3.json", namespace="jobs")
        look_again(bench, beat, times=3)

        lines = [record for record in caplog.records if "does not load" in record.getMessage()]
        assert [line.levelname for line in lines] == ["INFO"]
        assert lines[0].getMessage() == (
            "namespace jobs: 2 schedules of 1.json are in force, which this beat does not load; if no other beat does, remove "
            "them: taskq schedule remove --source 1.json --namespace jobs"
        )


def two_files(bench: Bench, directory: Path) -> tuple[Path, Path]:
    """Write two files that share the id x, and a third with one of its own."""
    first, second = directory / "1.json", directory / "2.json"
    bench.write({"id": "x"}, {"id": "a", "cron": "@yearly"}, path=first)
    bench.write({"id": "x", "args": [2]}, {"id": "b", "cron": "@yearly"}, path=second)
    bench.write({"id": "c", "cron": "@yearly"}, path=directory / "3.json")
    return first, second


def look_again(bench: Bench, *beats: Beat, times: int = 1) -> None:
    """Let beats look at what is in force, as they do from time to time."""
    for _ in range(times):
        bench.clock.advance(40)
        for beat in beats:
            beat.turn()


def manifests_of(bench: Bench) -> dict[bytes, bytes]:
    return {key: value for key, value in bench.logs.standing.items() if b"#manifest" in key}


def shared_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [
        record for record in caplog.records if getattr(record, "event", "") == "schedule.shared"
    ]


def attach_again(bench: Bench, *, pid: int) -> None:
    """Let the app find its broker as the process that a test pretends to be."""
    attach(bench.app, bench.broker)
    bench.app._brokers[pid] = next(iter(bench.app._brokers.values()))


class TestStart:
    def test_nothing_to_send_is_refused(self, bench: Bench) -> None:
        with pytest.raises(UsageError, match="-s FILE"):
            Beat(bench.app, [], clock=bench.clock)

    @pytest.mark.parametrize("namespace", ["", "a/b", "a#b", "\n"])
    def test_wrong_namespace_is_refused(self, bench: Bench, namespace: str) -> None:
        with pytest.raises(UsageError, match="namespace"):
            bench.beat(namespace=namespace)

    def test_namespace_may_be_given(self, bench: Bench) -> None:
        bench.write({"id": "a"})
        bench.beat(namespace="team")
        bench.clock.advance(1)

        assert bench.sent_by(1) == ids(1, "team/a")

    def test_same_ids_in_two_files_do_not_meet(self, bench: Bench, tmp_path: Path) -> None:
        bench.write({"id": "a"})
        bench.write({"id": "a"}, path=tmp_path / "other.json")
        bench.beat(bench.path, tmp_path / "other.json")
        bench.clock.advance(1)

        assert bench.sent_by(2) == [*ids(1), *ids(1, "other/a")]

    def test_same_ids_in_one_namespace_are_refused(self, bench: Bench, tmp_path: Path) -> None:
        bench.write({"id": "a"})
        bench.write({"id": "a"}, path=tmp_path / "other.json")

        with pytest.raises(ScheduleFileError, match="'team/a'"):
            bench.beat(bench.path, tmp_path / "other.json", namespace="team")

        assert bench.logs.records == []

    def test_two_files_of_one_name_in_one_namespace_are_refused(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        bench.write({"id": "a"})
        (tmp_path / "sub").mkdir()
        bench.write({"id": "b"}, path=tmp_path / "sub" / "jobs.json")

        with pytest.raises(UsageError, match="one name"):
            bench.beat(bench.path, tmp_path / "sub" / "jobs.json")

    def test_queue_too_long_for_the_prefix_is_refused(self, bench: Bench) -> None:
        bench.app, bench.broker = isolated_app(prefix="x" * 100)
        bench.broker.logs = OwnedLogs()
        bench.write({"id": "a", "queue": "q" * 200})

        with pytest.raises(ScheduleFileError, match="cannot be sent"):
            bench.beat()

    def test_module_without_a_schedule_is_refused_with_the_command_that_removes_what_it_had(
        self, bench: Bench
    ) -> None:
        with pytest.raises(UsageError, match="taskq schedule remove --source code:shop"):
            Beat(bench.app, [], modules=["shop:app"], clock=bench.clock)

    def test_unknown_task_is_a_warning_with_the_nearest(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.app.task("invoice")(lambda: None)
        bench.write({"id": "a", "task": "invoce"}, {"id": "b", "task": "invoice"})

        bench.beat(modules=["shop"])

        told = [r for r in caplog.records if getattr(r, "event", "") == "schedule.unknown_task"]
        assert ["'invoice'" in r.getMessage() for r in told] == [True]

    def test_broker_that_is_away_is_an_error(self, bench: Bench) -> None:
        bench.write({"id": "a"})
        bench.logs.refusal = ConnectionError("away")

        with pytest.raises(BrokerUnreachable):
            bench.beat()

    def test_log_that_is_not_fit_is_an_error(self, bench: Bench) -> None:
        bench.write({"id": "a"})
        bench.logs.refusal = PermissionError("it would lose records")

        with pytest.raises(BrokerRefused, match="lose records"):
            bench.beat()


class TestCode:
    def test_task_with_a_cron_is_a_schedule_of_its_module(self, bench: Bench) -> None:
        bench.app.task("invoice", queue="billing", cron="* * * * * *", args=["ACME"])(
            lambda name: None
        )
        beat = Beat(bench.app, [], modules=[__name__], clock=bench.clock)
        bench.beats.append(beat)
        beat.start()
        bench.clock.advance(1)

        assert bench.sent_by(1) == ids(1, f"{__name__}/invoice")
        assert bench.logs.sent[0].queue == "billing"
        assert json.loads(bench.logs.sent[0].value)[0] == ["ACME"]
        assert f"{__name__}#manifest/code:{__name__}".encode() in bench.logs.standing

    def test_files_and_code_go_together(self, bench: Bench) -> None:
        bench.app.task("invoice", cron="* * * * * *")(lambda: None)
        bench.write({"id": "a"})
        bench.beat(modules=["shop"], namespace="n")
        bench.clock.advance(1)

        assert bench.sent_by(2) == [*ids(1, "n/a"), *ids(1, "n/invoice")]


class TestClock:
    def test_clock_set_forward_by_an_hour_is_no_storm(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"})
        beat = bench.beat()
        bench.clock.advance(1)
        bench.sent_by(1)

        bench.clock.shift = timedelta(hours=1)
        beat.turn()

        sent = bench.sent_by(1 + 1 + 61)
        assert len(sent) == len(set(sent)) <= 64
        assert {"beat.clock_set", "occurrence.left_out"} <= set(events(caplog))

    def test_clock_set_back_by_an_hour_sends_nothing_twice(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"})
        beat = bench.beat()
        bench.clock.advance(3)
        bench.sent_by(3)

        bench.clock.shift = timedelta(hours=-1)
        beat.turn()
        bench.clock.advance(3601)

        assert bench.sent_by(4) == ids(4)
        assert "beat.clock_set" in events(caplog)


class TestEnd:
    def test_stop_from_another_thread_ends_run(self, bench: Bench) -> None:
        bench.write({"id": "a"})
        beat = Beat(bench.app, [str(bench.path)], clock=bench.clock)
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(beat.run()))
        thread.start()
        bench.clock.wait_for_sleeper()
        bench.clock.advance(1)
        bench.sent_by(1)

        beat.stop()
        thread.join(5)

        assert not thread.is_alive()
        assert codes == [0]
        assert not bench.logs.hosts[0].is_running

    def test_host_that_the_broker_refuses_ends_beat(self, bench: Bench) -> None:
        bench.write({"id": "a"})
        beat = bench.beat()
        wait_until(lambda: bench.logs.hosts, timeout=5, what="the host")
        bench.logs.hosts[0].failure = PermissionError("no rights on the group")
        wait_until(lambda: beat._threads[0].failure, timeout=5, what="its end")

        with pytest.raises(BrokerRefused, match="no rights"):
            beat._raise_failure()
