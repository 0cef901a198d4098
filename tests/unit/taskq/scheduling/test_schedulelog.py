"""The log of schedules: keys that can be told apart, and documents that are read as they were written."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from taskq.scheduling.occurrences import begin
from taskq.scheduling.schedulelog import (
    Fired,
    Key,
    Load,
    Manifest,
    NewerFormat,
    Part,
    Pause,
    StoredState,
    definition_to_json,
    encode,
    fired_text,
    key_of,
    listed_ids,
    manifest_key,
    read_definition,
    read_key,
    read_manifest,
    read_pause,
    read_shelves,
    read_state,
    state_text,
)
from tests.support.clock import START
from tests.support.schedulelog import ScheduleLog, definition

DEFINITION_OF_FORMAT_1 = (
    b'{"format": 1, "entry": {"id": "a", "cron": "* * * * * *", "dialect": "seconds", "task": "t"}, '
    b'"namespace": "jobs", "effective_from": "2026-11-23T17:00:00Z", "origin": "file:jobs.json"}'
)
PAUSE_OF_FORMAT_1 = b'{"format": 1, "paused": true, "at": "2026-11-23T17:00:00Z"}'
RESUMED_OF_FORMAT_1 = (
    b'{"format": 1, "paused": false, "since": "2026-11-23T17:00:00Z", "at": "2026-11-23T17:00:00Z"}'
)
MANIFEST_OF_FORMAT_1 = (
    b'{"format": 1, "hash": "x", "host": "one", "pid": 7, "at": "2026-11-23T17:00:00Z", "ids": ["a"], '
    b'"before": {"hash": "w", "host": "two", "pid": 8, "at": "2026-11-23T17:00:00Z"}}'
)


@pytest.mark.parametrize("part", [Part.DEFINITION, Part.PAUSE, Part.STATE])
def test_key_is_read_as_it_was_written(part: Part) -> None:
    assert read_key(key_of("jobs/ä b", part)) == Key("jobs", "ä b", part)


def test_manifest_is_told_from_a_schedule() -> None:
    key = manifest_key("jobs", "file:a/b#c.json")

    assert key == b"jobs#manifest/file:a/b#c.json"
    assert read_key(key) == Key("jobs", "file:a/b#c.json", Part.MANIFEST)


@pytest.mark.parametrize("key", [b"", b"jobs", b"/a", b"jobs/", b"\xff/a", b"jobs#manifest/"])
def test_what_is_no_key_of_ours_is_passed_over(key: bytes) -> None:
    assert read_key(key) is None


class TestDocuments:
    def test_definition_of_format_1(self) -> None:
        assert read_definition(DEFINITION_OF_FORMAT_1) == definition()
        assert encode(definition_to_json(definition())) == DEFINITION_OF_FORMAT_1

    def test_pause_of_format_1(self) -> None:
        assert read_pause(PAUSE_OF_FORMAT_1) == Pause(START)
        assert read_pause(RESUMED_OF_FORMAT_1) == Pause(START, START)
        assert encode(Pause(START).to_json()) == PAUSE_OF_FORMAT_1
        assert encode(Pause(START, START).to_json()) == RESUMED_OF_FORMAT_1

    def test_pauses_before_the_last_one_are_kept_until_they_are_dealt_with(self) -> None:
        days = [START + timedelta(days=number) for number in range(6)]
        pause = Pause(days[0], days[1]).paused(days[2], None)
        assert pause is not None
        resumed = pause.resumed(days[3])
        assert resumed is not None

        again = resumed.paused(days[4], days[0])
        later = resumed.paused(days[4], days[1])

        assert pause.paused(days[5], None) is None
        assert resumed.resumed(days[5]) is None
        assert again == Pause(days[4], earlier=((days[0], days[1]), (days[2], days[3])))
        assert later == Pause(days[4], earlier=((days[2], days[3]),))
        assert read_pause(encode(again.to_json())) == again
        assert read_pause(encode(resumed.to_json())) == resumed

    def test_manifest_of_format_1(self) -> None:
        manifest = Manifest(Load("x", "one", 7, START), ("a",), before=Load("w", "two", 8, START))

        assert read_manifest(MANIFEST_OF_FORMAT_1) == manifest
        assert encode(manifest.to_json()) == MANIFEST_OF_FORMAT_1

    def test_state_keeps_the_last_occurrences(self) -> None:
        state = StoredState(begin(definition()), (Fired(START, START),))

        assert read_state(encode(state.to_json())) == state

    def test_state_from_texts_is_the_same(self) -> None:
        state = begin(definition(args=["ü"]))
        stored = StoredState(state, (Fired(START, START),))
        text = encode(state.definition.to_json()).decode()

        written = state_text(text, state, [fired_text(START, "2026-11-23T17:00:00Z")])

        assert written == encode(stored.to_json())

    def test_state_without_occurrences_is_one(self) -> None:
        state = begin(definition())

        assert read_state(encode(state.to_json())) == StoredState(state)

    @pytest.mark.parametrize("read", [read_definition, read_pause, read_state, read_manifest])
    def test_newer_format_is_told_from_nonsense(self, read: Any) -> None:
        with pytest.raises(NewerFormat, match="format 2"):
            read(b'{"format": 2}')
        for nonsense in (b"", b"[]", b"{}", b'{"format": true}', b'{"format": 1}', b"\xff"):
            with pytest.raises(ValueError, match=r"[a-z]") as caught:
                read(nonsense)
            assert not isinstance(caught.value, NewerFormat)

    def test_values_without_json_form_are_refused(self) -> None:
        with pytest.raises(ValueError, match="serializable"):
            encode({"args": [object()]})


def test_manifest_lists_no_more_ids_than_a_record_has_room_for() -> None:
    listed = listed_ids(f"{n:0400}" for n in range(5000))

    assert 1000 < len(listed) < 2000
    assert len(json.dumps(listed)) < 600_000


def test_shelves_hold_what_stands_in_the_log() -> None:
    log = ScheduleLog()
    log.define(definition(), definition("b"), definition("a", cron="@daily"))
    log.remove("jobs/b")
    log.put(key_of("jobs/a", Part.PAUSE), PAUSE_OF_FORMAT_1)
    log.put(key_of("jobs/c", Part.DEFINITION), b'{"format": 9}')
    log.put(key_of("other/a", Part.DEFINITION), b"?")
    log.put(manifest_key("jobs", "file:jobs.json"), MANIFEST_OF_FORMAT_1)

    shelves = read_shelves(log.records)

    assert sorted(shelves) == ["jobs", "other"]
    jobs = shelves["jobs"]
    assert jobs.definitions() == {"a": definition("a", cron="@daily")}
    assert jobs.schedules["a"].pause == Pause(START)
    assert jobs.schedules["c"].is_newer
    assert not shelves["other"].schedules["a"].is_newer
    assert jobs.manifests["file:jobs.json"].ids == ("a",)
