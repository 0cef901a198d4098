"""`taskq schedule` and the start of `taskq beat`: what is printed, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taskq.app import App
from taskq.cli.main import main

ORIGINAL = str(Path(__file__).parents[2] / "data" / "taskscheduler.json")
WRONG = '[{"id": "a", "cron": "0 0 * * 7", "task": "t"}, {"id": "b", "cron": "@daily", "tsk": "t"}]'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run where no configuration file stands."""
    monkeypatch.chdir(tmp_path)
    for name in ("TASKQ_SCHEDULE", "TASKQ_CONFIG", "TASKQ_APP", "TASKQ_NAMESPACE", "TASKQ_BROKER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def read_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_validate_accepts_the_original_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", "validate", ORIGINAL]) == 0

    assert "4 schedules, namespace taskscheduler" in capsys.readouterr().out


def test_validate_names_each_problem_on_a_line_and_exits_with_2(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "jobs.json").write_text(WRONG, "utf-8")

    assert main(["schedule", "validate", "jobs.json"]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "Sunday is 0" in lines[0]
    assert "did you mean 'task'?" in lines[1]


def test_validate_warns_of_a_task_that_the_app_does_not_have(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "jobs.json").write_text('[{"id": "a", "cron": "@daily", "task": "invoce"}]')
    app = App()
    app.task("invoice")(lambda: None)
    monkeypatch.setattr("taskq.loading.load_app", lambda modules, directory="": app)

    assert main(["schedule", "validate", "jobs.json", "-A", "own"]) == 0

    told = capsys.readouterr().err
    assert told == (
        "taskq: warning: schedule file jobs.json: the app has no task 'invoce'; did you mean 'invoice'?\n"
    )


def test_validate_prints_json(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere / "jobs.json").write_text(WRONG, "utf-8")

    assert main(["schedule", "validate", "jobs.json", "--json"]) == 2

    (row,) = read_json(capsys)
    assert (row["file"], row["namespace"], len(row["problems"])) == ("jobs.json", "jobs", 3)


def test_validate_takes_the_files_of_the_settings(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "taskq.toml").write_text(f'schedule = ["{ORIGINAL}"]', "utf-8")

    assert main(["schedule", "validate"]) == 0

    assert "4 schedules" in capsys.readouterr().out


def test_without_a_file_it_says_how_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", "validate"]) == 2

    assert "no schedule file" in capsys.readouterr().err


def test_missing_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", "next", "nothing.json"]) == 2

    assert capsys.readouterr().err == ("taskq: schedule file nothing.json: there is no such file\n")


def test_next_prints_an_instant_for_each_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", "next", ORIGINAL, "--json"]) == 0

    rows = read_json(capsys)
    assert [row["schedule"] for row in rows] == [f"taskscheduler/{n}" for n in range(1, 5)]
    assert all(len(row["next"]) == 1 for row in rows)


def test_next_of_one_schedule_prints_five(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", "next", ORIGINAL, "2"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all("taskscheduler/2" in line for line in lines[1:])


def test_next_takes_an_id_alone_where_the_settings_name_the_file(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "taskq.toml").write_text(f'schedule = "{ORIGINAL}"', "utf-8")

    assert main(["schedule", "next", "3", "--count", "2", "--json"]) == 0

    (row,) = read_json(capsys)
    assert (row["schedule"], len(row["next"])) == ("taskscheduler/3", 2)


def test_next_prints_times_with_the_jitter(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = (
        '{"id": "a", "cron": "0 5 1 1 *", "task": "t", "jitter": 50}',
        '{"id": "b", "cron": "0 5 1 1 *", "task": "t"}',
    )
    (elsewhere / "jobs.json").write_text(f"[{', '.join(entries)}]", "utf-8")

    assert main(["schedule", "next", "jobs.json", "--json"]) == 0

    later, exact = (
        row["next"][0] for row in sorted(read_json(capsys), key=lambda r: r["schedule"])
    )
    assert exact.endswith("-01-01T05:00:00Z")
    assert later[4:] > exact[4:]  # on New Year's morning one of them is of the next year


def test_schedule_that_is_never_due_says_so(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "jobs.json").write_text(
        '[{"id": "a", "cron": "0 0 31 2 *", "task": "t"}]', "utf-8"
    )

    assert main(["schedule", "next", "jobs.json"]) == 0

    assert "never" in capsys.readouterr().out


STOPPED = """[
    {"id": "off", "cron": "* * * * *", "task": "t", "enabled": false},
    {"id": "over", "cron": "* * * * *", "task": "t", "end": "2020-01-01T00:00:00Z"},
    {"id": "vain", "cron": "0 0 31 2 *", "task": "t"}
]"""


def test_why_a_schedule_is_never_due_is_told(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "jobs.json").write_text(STOPPED, "utf-8")

    assert main(["schedule", "next", "jobs.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["schedule", "explain", "jobs.json"]) == 0
    explained = capsys.readouterr().out

    assert [line.split()[:2] for line in lines[1:]] == [
        ["disabled", "jobs/off"],
        ["ended", "jobs/over"],
        ["never", "jobs/vain"],
    ]
    assert "Not due, because disabled. Its rule: Every minute" in explained
    assert "Not due, because ended. Its rule:" in explained


class TestCode:
    """Schedules that tasks declare, with -A."""

    @pytest.fixture(autouse=True)
    def app(self, monkeypatch: pytest.MonkeyPatch) -> App:
        app = App()
        app.task("invoice", cron="0 5 * * *")(lambda: None)
        monkeypatch.setattr("taskq.loading.load_app", lambda modules, directory="": app)
        return app

    def test_next_prints_them(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["schedule", "next", "-A", "shop", "--json"]) == 0

        (row,) = read_json(capsys)
        assert (row["schedule"], row["task"]) == ("shop/invoice", "invoice")
        assert row["next"][0].endswith("T05:00:00Z")

    @pytest.mark.parametrize("id", ["invoice", "shop/invoice"])
    @pytest.mark.parametrize("command", ["next", "explain"])
    def test_one_is_named_by_its_id(
        self, capsys: pytest.CaptureFixture[str], command: str, id: str
    ) -> None:
        assert main(["schedule", command, id, "-A", "shop"]) == 0

        assert capsys.readouterr().out.count("shop/invoice") == (5 if command == "next" else 1)

    def test_they_stand_beside_those_of_files(
        self, elsewhere: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (elsewhere / "jobs.json").write_text('[{"id": "a", "cron": "@daily", "task": "invoice"}]')
        (elsewhere / "taskq.toml").write_text('schedule = "jobs.json"')

        assert main(["schedule", "next", "-A", "shop", "--json"]) == 0
        beside = {row["schedule"] for row in read_json(capsys)}
        assert main(["schedule", "next", "jobs.json", "-A", "shop", "--json"]) == 0
        alone = {row["schedule"] for row in read_json(capsys)}

        assert (beside, alone) == ({"jobs/a", "shop/invoice"}, {"jobs/a"})

    def test_validate_counts_them(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["schedule", "validate", "-A", "shop"]) == 0
        assert capsys.readouterr().out == "module shop: 1 schedule, namespace shop\n"
        assert main(["schedule", "validate", "-A", "shop", "--json"]) == 0
        assert read_json(capsys)[0]["module"] == "shop"

    def test_module_without_one_is_told(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("taskq.loading.load_app", lambda modules, directory="": App())

        assert main(["schedule", "next", "-A", "shop"]) == 2

        assert "no task of -A has a cron" in capsys.readouterr().err


@pytest.mark.parametrize(("configured", "code"), [(False, 2), (True, 1)])
def test_number_that_is_no_file_is_taken_for_a_count(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], configured: bool, code: int
) -> None:
    if configured:
        (elsewhere / "taskq.toml").write_text(f"schedule = {json.dumps(ORIGINAL)}")

    assert main(["schedule", "next", "50"]) == code

    assert "for the next 50 instants: --count 50" in capsys.readouterr().err


def test_unknown_id_exits_with_1_and_names_the_nearest(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "jobs.json").write_text(
        '[{"id": "report", "cron": "@daily", "task": "t"}]', "utf-8"
    )

    assert main(["schedule", "explain", "jobs.json", "reprot"]) == 1

    assert "did you mean 'report'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "dialect", "words"),
    [
        (["0 5 * * *"], "standard", "At 05:00 "),
        (["0 5 * * *", "--dialect", "robfig-v1"], "robfig-v1", "At 5 minutes past the hour"),
        (["@daily", "--timezone", "Asia/Tokyo"], "standard", "(Asia/Tokyo)"),
        (["@every 90s"], "standard", "Every 1 min 30 s"),
        (["--", "*/5 * * * *"], "standard", "Every 5 minutes"),
    ],
)
def test_explain_tells_an_expression_in_words(
    arguments: list[str], dialect: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--json", "schedule", "explain", *arguments]) == 0

    row = read_json(capsys)
    assert row["dialect"] == dialect
    assert words in row["words"]
    assert len(row["next"]) == 5


@pytest.mark.parametrize(
    ("dialect", "other", "words"),
    [
        ("standard", "robfig-v1", "At 5 minutes past the hour"),
        ("robfig-v1", "standard", "At 05:00"),
    ],
)
def test_explain_warns_of_what_the_other_dialect_would_read(
    dialect: str, other: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "explain", "0 5 * * *", "--dialect", dialect]) == 0
    told = capsys.readouterr().out
    assert main(["schedule", "explain", "0 5 * * *", "--dialect", dialect, "--json"]) == 0

    elsewhere = read_json(capsys)["elsewhere"]
    assert f"careful: in the dialect {other}" in told
    assert elsewhere["dialect"] == other
    assert words in elsewhere["words"]
    assert elsewhere["words"] in told


def test_explain_does_not_warn_where_nothing_can_be_mistaken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["schedule", "explain", "0 0 5 * * *"]) == 0

    assert "careful" not in capsys.readouterr().out


def test_explain_refuses_a_wrong_expression_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["schedule", "explain", "0 0 * * 7", "--dialect", "standard"]) == 2

    told = capsys.readouterr().err
    assert "Sunday is 0" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["CRON_TZ=Europe/Lisbon 0 5 * * *", "--timezone", "Asia/Tokyo"], "zone is given twice"),
        ([""], "invalid schedule ''"),
        ([" "], "invalid schedule ' '"),
    ],
)
def test_explain_names_what_is_wrong_with_its_argument(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "explain", *arguments]) == 2

    assert said in capsys.readouterr().err


def test_explain_refuses_an_unknown_dialect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", "explain", "0 0 * * *", "--dialect", "quartz"]) == 2

    assert "no such dialect" in capsys.readouterr().err


def test_explain_tells_the_schedules_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", "explain", ORIGINAL, "1"]) == 0

    told = capsys.readouterr().out
    assert "schedule: taskscheduler/1" in told
    assert "Every second" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["beat"], "beat has no schedule"),
        (["beat", "-s", "nothing.json"], "there is no such file"),
        (["beat", "-s", "."], "schedule file .: is a directory"),
        (["beat", "-s", "a#b.json"], "schedule file a#b.json: its name makes an invalid namespace"),
        (["beat", "-s", ORIGINAL, "--namespace", "a/b"], "invalid namespace"),
        (["beat", "-s", ORIGINAL, "--replcae"], "'--replace'"),
        (["beat", "-A", "no_such_module", "-s", ORIGINAL], "no_such_module"),
    ],
)
def test_beat_refuses_what_is_wrong_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
