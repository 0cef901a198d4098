"""Entries of a schedule file: both forms, and what is said of wrong ones."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq.scheduling.entryvalues import CatchUp
from taskq.scheduling.schedule import Problem, ScheduleEntry, read_entries

ORIGINAL = Path(__file__).parents[3] / "data" / "taskscheduler.json"
NATIVE: dict[str, Any] = {"id": "report", "cron": "0 5 * * *", "task": "send_report"}
FULL: dict[str, Any] = {
    **NATIVE,
    "args": [1, "two"],
    "kwargs": {"three": 3},
    "queue": "reports",
    "key": "ACME",
    "expires": 60,
    "headers": {"tenant": "ACME"},
    "timezone": "Europe/Lisbon",
    "dialect": "standard",
    "enabled": False,
    "start": "2026-01-01T00:00:00+01:00",
    "end": "2027-01-01T00:00:00Z",
    "jitter": 2.5,
    "catch_up": "all",
    "catch_up_window": 3600,
    "description": "for the board",
}


def only_entry(item: object) -> ScheduleEntry:
    entries, problems = read_entries([item])
    assert problems == []
    return entries[0]


def only_problem(item: object) -> Problem:
    _, problems = read_entries([item])
    assert len(problems) == 1, problems
    return problems[0]


def test_original_file_is_read() -> None:
    entries, problems = read_entries(json.loads(ORIGINAL.read_text("utf-8")))

    assert problems == []
    assert [entry.id for entry in entries] == ["1", "2", "3", "4"]
    assert {entry.queue for entry in entries} == {"taskTopic"}
    assert {entry.cron.dialect for entry in entries} == {"robfig-v1"}


def test_legacy_entry_passes_param_and_payload_as_keywords() -> None:
    first, second = read_entries(json.loads(ORIGINAL.read_text("utf-8")))[0][:2]

    assert first.task == "github.com/darciopacifico/taskmanager/processor.InvoiceProcessor"
    assert first.kwargs == {
        "param": "task param xyz",
        "payload": ["Ireland", "Germany", "Italy"],
    }
    assert second.kwargs == {"param": "task param xyz"}


def test_native_entry_has_defaults() -> None:
    entry = only_entry(NATIVE)

    assert (entry.queue, entry.key, entry.expires, entry.start) == (None, None, None, None)
    assert entry.enabled
    assert entry.catch_up is CatchUp.LAST
    assert entry.catch_up_window == 86400.0
    assert entry.cron.timezone == "UTC"


def test_native_entry_takes_all_keys() -> None:
    entry = only_entry(FULL)

    assert entry.args == (1, "two")
    assert entry.start == datetime(2025, 12, 31, 23, tzinfo=timezone.utc)
    assert entry.catch_up is CatchUp.ALL
    assert entry.cron.timezone == "Europe/Lisbon"
    assert entry.expires == 60.0


def test_both_forms_may_stand_in_one_file() -> None:
    legacy = json.loads(ORIGINAL.read_text("utf-8"))[0]

    entries, problems = read_entries([legacy, NATIVE])

    assert problems == []
    assert [entry.id for entry in entries] == ["1", "report"]


@pytest.mark.parametrize("item", [NATIVE, FULL, {**NATIVE, "cron": "CRON_TZ=Asia/Tokyo @every 5s"}])
def test_entry_is_the_same_after_json(item: dict[str, Any]) -> None:
    entry = only_entry(item)

    assert ScheduleEntry.from_json(json.loads(json.dumps(entry.to_json()))) == entry


def test_legacy_entry_is_the_same_after_json() -> None:
    entry = only_entry(json.loads(ORIGINAL.read_text("utf-8"))[0])

    assert ScheduleEntry.from_json(json.loads(json.dumps(entry.to_json()))) == entry


def test_from_json_refuses_what_is_no_entry() -> None:
    with pytest.raises(ValueError, match="is missing"):
        ScheduleEntry.from_json({"id": "x"})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("id", "", "empty"),
        ("id", 5, "must be text, and is 5"),
        ("id", "a/b", "'/'"),
        ("id", "a#b", "'#'"),
        ("id", " a", "blanks"),
        ("cron", "0 0 * * 7", "Sunday is 0"),
        ("cron", 5, "must be text"),
        ("cron", None, "must be text, and is null"),
        ("task", "  ", "empty"),
        ("task", "\ud800", "surrogate"),
        ("args", {}, "must be a list, and is an object"),
        ("kwargs", [], "must be an object, and is a list"),
        ("queue", "a b", "' ' is not allowed"),
        ("queue", "a.dlq", "taken"),
        ("queue", None, "must be text, and is null"),
        ("key", 7, "must be text"),
        ("expires", 0, "above 0"),
        ("expires", True, "must be a number of seconds"),
        ("expires", 1e300, "at most a hundred years"),
        ("headers", {"eta": "x"}, "'eta' is taken"),
        ("headers", {"dlq-id": "x"}, "taken"),
        ("headers", {"": "x"}, "empty"),
        ("timezone", "Europe/Lisbn", "'Europe/Lisbon'"),
        ("timezone", 1, "must be text"),
        ("dialect", "standart", "'standard'"),
        ("dialect", 1, "must be one of"),
        ("enabled", "yes", "must be true or false"),
        ("start", "2026-01-01T00:00:00", "has no offset"),
        ("end", "soon", "is no time"),
        ("jitter", -1, "0 or more"),
        ("jitter", float("nan"), "0 or more"),
        ("catch_up", "lst", "'last'"),
        ("catch_up", True, "must be one of"),
        ("catch_up_window", "1h", "must be a number"),
        ("description", [], "must be text"),
    ],
)
def test_wrong_value_is_refused_with_its_key(key: str, value: object, said: str) -> None:
    problem = only_problem({**NATIVE, key: value})

    assert problem.key == key
    assert said in str(problem)
    assert problem.entry.startswith("entry 1")


def test_unknown_key_is_refused_with_the_nearest() -> None:
    problem = only_problem({**NATIVE, "tiemzone": "UTC"})

    assert (problem.key, problem.near) == ("tiemzone", "timezone")
    assert str(problem) == "entry 1 ('report'): 'tiemzone': unknown key; did you mean 'timezone'?"


@pytest.mark.parametrize("priority", [11, -1, True, "9", 4.5, None])
def test_a_priority_is_a_whole_number_from_0_to_9(priority: object) -> None:
    problem = only_problem({**NATIVE, "priority": priority})

    assert problem.key == "priority"
    assert "a whole number from 0 to 9" in problem.reason


def test_a_priority_is_kept_in_the_native_form() -> None:
    [entry], problems = read_entries([{**NATIVE, "priority": 7}])

    assert not problems
    assert ScheduleEntry.from_json(entry.to_json()).priority == 7


@pytest.mark.parametrize("key", ["id", "cron", "task"])
def test_missing_key_is_named(key: str) -> None:
    problem = only_problem({name: value for name, value in NATIVE.items() if name != key})

    assert (problem.key, problem.reason) == (key, "is missing")


def test_zone_given_twice_is_refused() -> None:
    problem = only_problem({**NATIVE, "cron": "CRON_TZ=UTC 0 5 * * *", "timezone": "UTC"})

    assert problem.key == "timezone"
    assert "twice" in problem.reason


def test_end_before_start_is_refused() -> None:
    problem = only_problem({**FULL, "end": "2020-01-01T00:00:00Z"})

    assert problem.key == "end"


def test_doubled_id_is_refused() -> None:
    _, problems = read_entries([NATIVE, {**NATIVE, "task": "other"}])

    assert [str(problem) for problem in problems] == [
        "entry 2 ('report'): 'id': 'report' is the id of entry 1 too; an id is unique in its file"
    ]


def test_legacy_entry_takes_no_native_keys() -> None:
    legacy = {**json.loads(ORIGINAL.read_text("utf-8"))[0], "timezone": "UTC"}

    assert only_problem(legacy).key == "timezone"


@pytest.mark.parametrize("key", ["Id", "Cron", "Topic", "TaskMessageTemplate"])
def test_missing_legacy_key_is_named(key: str) -> None:
    legacy = json.loads(ORIGINAL.read_text("utf-8"))[0]
    del legacy[key]

    assert (only_problem(legacy).key, only_problem(legacy).reason) == (key, "is missing")


def test_legacy_template_is_checked() -> None:
    legacy = json.loads(ORIGINAL.read_text("utf-8"))[0]
    legacy["TaskMessageTemplate"] = {"TaskProcesorName": "x"}

    _, problems = read_entries([legacy])

    assert [problem.key for problem in problems] == [
        "TaskMessageTemplate.TaskProcesorName",
        "TaskMessageTemplate.TaskProcessorName",
    ]
    assert problems[0].near == "TaskProcessorName"


def test_all_problems_are_told_at_once() -> None:
    _, problems = read_entries([{"id": "a"}, 5, {**NATIVE, "queue": "", "args": 1}])

    assert len(problems) == 5


@pytest.mark.parametrize("document", [{}, None, "x", 5, True])
def test_top_level_must_be_a_list(document: object) -> None:
    entries, problems = read_entries(document)

    assert entries == []
    assert "must hold a list" in str(problems[0])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*FULL, "Id", "Cron", "Topic", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
@settings(max_examples=100)
def test_any_json_gives_entries_or_problems(document: object) -> None:
    entries, problems = read_entries([document])

    assert entries or problems
    for problem in problems:
        assert "\n" not in str(problem)
