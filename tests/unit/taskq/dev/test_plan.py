from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from taskq.dev.plan import DevPlan, broker_variables, check_command, child_environ, export_line
from taskq.errors import ScheduleFileError, UsageError
from taskq.settings import Settings

PLAN = DevPlan(
    common=("-A", "tasks"),
    worker=("-c", "4"),
    beat=(),
    schedule=(),
    has_code_schedules=False,
    reloads=False,
    takes_schedule_queues=True,
    command=(),
    environ={"PATH": "/bin"},
    settings=Settings(),
)


def entry(id: str, **more: object) -> dict[str, object]:
    return {"id": id, "cron": "* * * * *", "task": "t", **more}


@pytest.fixture
def schedule(tmp_path: Path) -> str:
    """A file with entries in two queues and one that names none."""
    path = tmp_path / "schedule.json"
    entries = [entry("1", queue="b"), entry("2", queue="a"), entry("3", queue="b"), entry("4")]
    path.write_text(json.dumps(entries))
    return str(path)


def test_the_worker_takes_the_queues_of_the_schedule(schedule: str) -> None:
    plan = replace(PLAN, schedule=(schedule,))

    worker = plan.worker_plan(9, plan.schedule_queues())

    assert worker.command[-7:] == ("worker", "-A", "tasks", "-c", "4", "--also-queues", "a,b")


def test_a_worker_of_some_queues_takes_no_others(schedule: str) -> None:
    plan = replace(PLAN, schedule=(schedule,), takes_schedule_queues=False)

    assert plan.schedule_queues() == ()
    assert "--also-queues" not in plan.worker_plan(9, ()).command


def test_a_schedule_with_mistakes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ScheduleFileError):
        replace(PLAN, schedule=(str(tmp_path / "missing.json"),)).schedule_queues()


def test_beat_is_there_for_a_schedule_alone() -> None:
    assert PLAN.beat_plan(9) is None

    beat = replace(PLAN, schedule=("one.json", "two.json")).beat_plan(9)

    assert beat is not None
    assert beat.command[-4:] == ("--schedule", "one.json", "--schedule", "two.json")


def test_beat_is_there_for_tasks_with_a_cron() -> None:
    beat = replace(PLAN, beat=("--replace",), has_code_schedules=True).beat_plan(9)

    assert beat is not None
    assert beat.command[-1] == "--replace"


def test_beat_is_there_for_tasks_that_may_get_a_cron() -> None:
    beat = replace(PLAN, reloads=True).beat_plan(9)

    assert beat is not None
    assert beat.command[-1] == "--if-any"


def test_a_worker_may_use_its_whole_grace() -> None:
    plan = replace(PLAN, settings=Settings(grace=100.0))

    assert plan.worker_plan(9, ()).patience > 100


def test_the_users_command_finds_the_programs_beside_this_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "prefix", "/venv")
    plan = replace(PLAN, command=("python", "send.py")).command_plan()

    assert plan is not None
    assert plan.environ["PATH"] == f"{Path(sys.executable).parent}:/bin"


def test_a_command_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"'no-such-program'.*-A MODULE"):
        check_command(("no-such-program",), {"PATH": "/nowhere"})


def test_the_exported_line_is_one_for_a_shell() -> None:
    line = export_line({"TASKQ_BROKER": "h:1,h:2", "TASKQ_X": "a b"})

    assert shlex.split(line) == ["export", "TASKQ_BROKER=h:1,h:2", "TASKQ_X=a b"]


def test_settings_for_a_broker_with_a_login_do_not_hold_for_the_embedded_one() -> None:
    settings = Settings(kafka={"security.protocol": "sasl_ssl"})

    own = broker_variables(settings, broker="h:1", is_embedded=True)
    real = broker_variables(settings, broker="h:1", is_embedded=False)

    assert own == {"TASKQ_BROKER": "h:1", "TASKQ_KAFKA_SECURITY_PROTOCOL": "plaintext"}
    assert real == {"TASKQ_BROKER": "h:1"}


def test_variables_of_dev_win_over_those_it_was_given() -> None:
    environ = child_environ({"TASKQ_BROKER": "old:1", "LANG": "C"}, {"TASKQ_BROKER": "h:1"})

    assert environ == {"TASKQ_BROKER": "h:1", "LANG": "C", "PYTHONUNBUFFERED": "1"}
