"""What a load writes: differences alone, its own origin's alone, and never by accident nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from taskq.errors import ScheduleFileError, UsageError
from taskq.scheduling.reconcile import Offer, Plan, is_whole, reconcile
from taskq.scheduling.schedule import ScheduleEntry, read_entries
from taskq.scheduling.schedulelog import Load, Part, Shelf, key_of, read_shelf
from tests.support.clock import START
from tests.support.schedulelog import Owner, ScheduleLog

EVERY_SECOND = "* * * * * *"


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Beat:
    """A beat's loads of a file, in a log."""

    def __init__(self, log: ScheduleLog, host: str = "one", origin: str = "file:jobs.json") -> None:
        self.log = log
        self.host = host
        self.origin = origin
        self.others_live = True

    def load(
        self,
        *items: dict[str, Any],
        at: datetime = START,
        replaces_all: bool = False,
        is_repeated: bool = False,
    ) -> Plan:
        filled = [{"cron": EVERY_SECOND, "task": "t", **item} for item in items]
        entries, problems = read_entries(filled)
        assert problems == []
        digest = repr(filled)
        plan = reconcile(
            Offer("jobs", self.origin, "/etc/jobs.json", digest, entries),
            self.shelf,
            load=Load(digest, self.host, 7, at),
            replaces_all=replaces_all,
            is_live=lambda: self.others_live,
            is_repeated=is_repeated,
        )
        self.log.write(plan.writes)
        return plan

    @property
    def shelf(self) -> Shelf:
        return read_shelf(self.log.records, "jobs")

    @property
    def ids(self) -> Sequence[str]:
        return list(self.shelf.definitions())


def entries(*ids: str) -> Sequence[ScheduleEntry]:
    found, problems = read_entries([{"id": id, "cron": EVERY_SECOND, "task": "t"} for id in ids])
    assert problems == []
    return found


def events(plan: Plan) -> list[str]:
    return [line.extra["event"] for line in plan.lines]


@pytest.fixture
def log() -> ScheduleLog:
    return ScheduleLog()


def test_load_writes_definitions_and_then_the_manifest(log: ScheduleLog) -> None:
    plan = Beat(log).load({"id": "a"}, {"id": "b"})

    assert [record.key for record in log.records] == [
        b"jobs/a",
        b"jobs/b",
        b"jobs#manifest/file:jobs.json",
    ]
    assert [write.route for write in plan.writes] == [b"jobs/a", b"jobs/b", b"jobs#manifest"]
    assert events(plan) == ["schedule.added", "schedule.added"]


def test_same_load_writes_nothing(log: ScheduleLog) -> None:
    Beat(log).load({"id": "a"}, {"id": "b"})

    plan = Beat(log, "two").load({"id": "a"}, {"id": "b"}, at=after(5))

    assert (plan.writes, plan.lines) == ([], [])
    assert set(plan.definitions) == {"a", "b"}


def test_only_differences_are_written(log: ScheduleLog) -> None:
    beat = Beat(log)
    beat.load({"id": "a"}, {"id": "b"}, {"id": "c"})

    plan = beat.load({"id": "b", "args": [1]}, {"id": "c"}, {"id": "d"}, at=after(5))

    assert [write.key for write in plan.writes][:-1] == [b"jobs/b", b"jobs/d", b"jobs/a"]
    assert events(plan) == ["schedule.changed", "schedule.added", "schedule.removed"]
    assert [each.entry.id for each in plan.touched] == ["b", "d"]
    assert beat.ids == ["b", "c", "d"]


def test_change_keeps_the_birth_and_one_that_is_added_again_has_a_new_one(
    log: ScheduleLog,
) -> None:
    beat = Beat(log)
    beat.load({"id": "a"}, {"id": "b"})
    beat.load({"id": "a", "args": [1]}, at=after(5))

    plan = beat.load({"id": "a", "args": [2]}, {"id": "b"}, at=after(9))

    assert [(each.born, each.effective_from) for each in plan.touched] == [
        (START, after(9)),
        (after(9), after(9)),
    ]


def test_clock_that_is_behind_does_not_turn_the_order_of_loads(log: ScheduleLog) -> None:
    beat = Beat(log)
    beat.load({"id": "a"}, at=after(10))

    plan = beat.load({"id": "a", "args": [1]}, at=after(3))

    assert plan.touched[0].effective_from > after(10)


def test_manifest_says_what_was_loaded_and_what_before(log: ScheduleLog) -> None:
    beat = Beat(log)
    beat.load({"id": "b"}, {"id": "a"})
    beat.load({"id": "a"}, at=after(5))

    manifest = beat.shelf.manifests["file:jobs.json"]

    assert (manifest.load.host, manifest.load.pid, manifest.load.at) == ("one", 7, after(5))
    assert manifest.ids == ("a",)
    assert manifest.before is not None
    assert manifest.before.at == START


class TestOrigins:
    def test_what_another_origin_has_brought_stays(self, log: ScheduleLog) -> None:
        Beat(log, origin="file:other.json").load({"id": "x"})
        beat = Beat(log)
        beat.load({"id": "a"})

        beat.load({"id": "b"}, replaces_all=True)

        assert beat.ids == ["b", "x"]

    def test_schedule_that_moves_to_another_file_is_that_files_with_a_warning(
        self, log: ScheduleLog
    ) -> None:
        Beat(log, origin="file:other.json").load({"id": "a"}, {"id": "x"})

        plan = Beat(log).load({"id": "a"}, at=after(5))

        assert events(plan) == ["schedule.changed", "schedule.moved"]
        Beat(log, origin="file:other.json").load({"id": "x"}, at=after(6))
        assert Beat(log).ids == ["a", "x"]


class TestSharedIds:
    """Two files of one namespace have one id, and a beat runs of each."""

    def test_repeated_load_takes_over_nothing_that_another_lists(self, log: ScheduleLog) -> None:
        first, second = Beat(log, origin="file:1.json"), Beat(log, origin="file:2.json")
        first.load({"id": "x"})
        second.load({"id": "x", "args": [2]}, at=after(1))
        end = log.end

        plan = first.load({"id": "x"}, at=after(30), is_repeated=True)

        assert (plan.writes, log.end) == ([], end)
        assert first.shelf.definitions()["x"].origin == "file:2.json"

    def test_id_that_another_lists_goes_on_and_is_taken_off_that_list(
        self, log: ScheduleLog
    ) -> None:
        first, second = Beat(log, origin="file:1.json"), Beat(log, origin="file:2.json")
        first.load({"id": "x"}, {"id": "a"})
        second.load({"id": "x"}, {"id": "b"}, at=after(1))

        plan = second.load({"id": "b"}, at=after(2))

        assert (plan.left, events(plan)) == (["x"], ["schedule.left"])
        assert first.ids == ["a", "b", "x"]
        assert first.shelf.manifests["file:1.json"].ids == ("a",)

    def test_whoever_has_it_still_takes_it_over_without_a_gap(self, log: ScheduleLog) -> None:
        first, second = Beat(log, origin="file:1.json"), Beat(log, origin="file:2.json")
        first.load({"id": "x"})
        second.load({"id": "x"}, {"id": "b"}, at=after(1))
        owner = Owner(log, START)
        second.load({"id": "b"}, at=after(5))
        owner.fire(after(10))

        first.load({"id": "x"}, at=after(20), is_repeated=True)
        second.load({"id": "b"}, at=after(60), is_repeated=True)
        owner.fire(after(70))

        assert first.shelf.definitions()["x"].origin == "file:1.json"
        of_x = sorted(id for id in log.ids if id.startswith("jobs/x"))
        assert of_x == [f"jobs/x@{after(n):%Y-%m-%dT%H:%M:%SZ}" for n in range(1, 71)]

    def test_what_nobody_claims_is_removed_by_the_next_load(self, log: ScheduleLog) -> None:
        Beat(log, origin="file:old-name.json").load({"id": "x"}, {"id": "b"})
        renamed = Beat(log, origin="file:new-name.json")
        renamed.load({"id": "x"}, {"id": "b"}, at=after(1))
        renamed.load({"id": "b"}, at=after(2))

        plan = renamed.load({"id": "b"}, at=after(90), is_repeated=True)

        assert events(plan) == ["schedule.removed"]
        assert renamed.ids == ["b"]

    def test_list_that_ids_were_taken_off_is_not_whole(self, log: ScheduleLog) -> None:
        beat = Beat(log)
        beat.load({"id": "a"}, {"id": "b"})
        manifest = beat.shelf.manifests["file:jobs.json"]
        offer = Offer("jobs", "file:jobs.json", "", manifest.load.digest, entries("a", "b"))

        assert is_whole(offer, manifest)
        assert not is_whole(offer, manifest.without(["b"]))
        assert not is_whole(offer, None)


class TestRemovingAll:
    @pytest.mark.parametrize("items", [(), ({"id": "z"},)])
    def test_it_is_refused(self, log: ScheduleLog, items: Sequence[dict[str, Any]]) -> None:
        beat = Beat(log)
        beat.load({"id": "a"})

        with pytest.raises(ScheduleFileError, match="--replace"):
            beat.load(*items, at=after(5))

        assert beat.ids == ["a"]

    def test_it_is_done_where_it_is_meant(self, log: ScheduleLog) -> None:
        beat = Beat(log)
        beat.load({"id": "a"})

        beat.load(replaces_all=True)

        assert beat.ids == []

    def test_other_schedules_than_those_of_a_running_beat_want_another_namespace(
        self, log: ScheduleLog
    ) -> None:
        Beat(log, "two").load({"id": "a"})

        with pytest.raises(UsageError, match="--namespace") as caught:
            Beat(log).load({"id": "z"})

        assert not isinstance(caught.value, ScheduleFileError)

    def test_beat_that_is_gone_asks_for_no_other_namespace(self, log: ScheduleLog) -> None:
        Beat(log, "two").load({"id": "a"})
        beat = Beat(log)
        beat.others_live = False

        with pytest.raises(ScheduleFileError, match="--replace"):
            beat.load({"id": "z"})


class TestRollout:
    def test_old_file_that_undoes_a_new_one_is_loaded_with_a_warning(
        self, log: ScheduleLog
    ) -> None:
        Beat(log, "one").load({"id": "a"})
        Beat(log, "two").load({"id": "a", "args": [1]}, at=after(60))

        plan = Beat(log, "three").load({"id": "a"}, at=after(120))

        assert events(plan) == ["schedule.changed", "schedule.load_undone"]

    @pytest.mark.parametrize(("host", "at"), [("two", 120), ("three", 60 + 3601)])
    def test_own_change_and_one_after_a_day_are_no_undoing(
        self, log: ScheduleLog, host: str, at: float
    ) -> None:
        Beat(log, "one").load({"id": "a"})
        Beat(log, "two").load({"id": "a", "args": [1]}, at=after(60))

        plan = Beat(log, host).load({"id": "a"}, at=after(at))

        assert events(plan) == ["schedule.changed"]

    def test_three_beats_change_to_a_new_file_and_back_without_loss(self, log: ScheduleLog) -> None:
        old: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "cron": "*/2 * * * * *"}]
        new: list[dict[str, Any]] = [
            {"id": "a", "args": [1]},
            {"id": "b", "cron": "1-59/2 * * * * *"},
        ]
        owner = Owner(log, START)
        loads = [old, old, old, new, old, new, new, old, new, old, old]
        for turn, items in enumerate(loads):
            Beat(log, f"host{turn % 3}").load(*items, at=after(turn * 10))
            if turn % 4 == 3:
                owner = Owner(log, START)
            owner.fire(after(turn * 10 + 9.5))

        ids = log.ids
        assert len(ids) == len(set(ids))
        seconds = range(1, 110)
        assert sorted(id for id in ids if id.startswith("jobs/a")) == [
            f"jobs/a@{after(n):%Y-%m-%dT%H:%M:%SZ}" for n in seconds
        ]
        of_b = {id for id in ids if id.startswith("jobs/b")}
        assert of_b == {
            f"jobs/b@{after(n):%Y-%m-%dT%H:%M:%SZ}"
            for n in seconds
            if n % 2 == (loads[(n - 1) // 10] is new)
        }


class TestWhatStandsThere:
    def test_definition_of_a_newer_format_is_left_untouched_and_said(
        self, log: ScheduleLog
    ) -> None:
        log.put(key_of("jobs/a", Part.DEFINITION), b'{"format": 99}')

        plan = Beat(log).load({"id": "a"}, {"id": "b"})

        assert [write.key for write in plan.writes][:-1] == [b"jobs/b"]
        assert events(plan) == ["schedule.unreadable", "schedule.added"]

    def test_definition_that_nobody_can_read_is_written_anew(self, log: ScheduleLog) -> None:
        log.put(key_of("jobs/a", Part.DEFINITION), b"?")

        Beat(log).load({"id": "a"})

        assert Beat(log).ids == ["a"]

    def test_entry_that_fits_no_record_is_refused(self, log: ScheduleLog) -> None:
        with pytest.raises(ScheduleFileError, match="1000000"):
            Beat(log).load({"id": "a", "args": ["x" * 1_000_000]})

        assert log.records == []
