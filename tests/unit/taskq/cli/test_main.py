from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from taskq.app import App
from taskq.cli.main import cli
from taskq.errors import BrokerUnreachable, TaskqError, UsageError
from tests.support.processes import environment
from tests.unit.taskq.cli.conftest import Taskq


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["quues"], "unknown command 'quues'; did you mean 'queues'?"),
        (["dlq", "lst"], "unknown command 'lst'; did you mean 'list'?"),
        (["queues", "--jsn"], "unknown option '--jsn'; did you mean '--json'?"),
        (["--brokr", "x", "queues"], "unknown option '--brokr'; did you mean '--broker'?"),
        (
            ["send", "t", "--link", "x"],
            "unknown option '--link' of taskq send; this version of taskq has no such option",
        ),
        (["send"], "missing argument 'TASK'; see 'taskq send --help'"),
        (["-A", "jobs"], "missing command; see 'taskq --help'"),
        (["dlq", "-A", "jobs"], "missing command; see 'taskq dlq --help'"),
    ],
)
def test_what_does_not_exist_is_one_line_with_the_nearest(
    taskq: Taskq, arguments: list[str], line: str
) -> None:
    run = taskq(*arguments)

    assert (run.code, run.out, run.err) == (2, "", f"taskq: {line}\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("wrong\nhere"), 2),
        (BrokerUnreachable("h:1"), 3),
        (TaskqError("failed"), 1),
        (KeyboardInterrupt(), 130),
        (click.exceptions.Exit(7), 7),
    ],
)
def test_errors_become_exit_codes(
    taskq: Taskq, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setitem(cli.commands, "fail", click.Command("fail", callback=fail))

    run = taskq("fail")

    assert run.code == code
    assert run.err.strip().count("\n") == 0
    assert "Traceback" not in run.err


def test_ctrl_c_ends_a_command_without_a_word(
    taskq: Taskq, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.commands, "fail", click.Command("fail", callback=fail))

    run = taskq("fail")

    assert (run.code, run.out, run.err) == (130, "", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-b", "h:1", "config", "--json"],
        ["config", "-b", "h:1", "--json"],
        ["--json", "config", "-b", "h:1"],
        ["-b", "other:1", "config", "--json", "-b", "h:1"],
    ],
)
def test_common_options_stand_before_or_after_the_command(
    taskq: Taskq, app: App, arguments: list[str]
) -> None:
    rows = {row["name"]: row for row in taskq(*arguments).json}

    assert rows["broker"] == {"name": "broker", "value": "h:1", "source": "flag"}


def test_modules_add_up_over_all_places(taskq: Taskq, app: App) -> None:
    run = taskq("-A", "a,b", "config", "-A", "c", "-A", "d:app", "--json")

    rows = {row["name"]: row["value"] for row in run.json}
    assert rows["app"] == ["a", "b", "c", "d:app"]


LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("arguments", "longest"),
    [
        (["send", "t", "-a", f'{{"{LONG}": 1}}'], 250),
        (["send", "t", "-k", LONG], 250),
        (["send", "t", "--header", LONG], 250),
        ([LONG], 2100),
    ],
)
def test_a_long_value_does_not_hide_what_is_wrong_with_it(
    taskq: Taskq, app: App, arguments: list[str], longest: int
) -> None:
    run = taskq(*arguments)

    assert run.code == 2
    assert "xxx…xxx" in run.err
    assert len(run.err) <= longest


@pytest.mark.parametrize("arguments", [[], ["dlq"], ["schedule"]])
def test_a_group_alone_prints_its_help(taskq: Taskq, arguments: list[str]) -> None:
    run = taskq(*arguments)

    assert (run.code, run.err) == (2, "")
    assert run.out == taskq(*arguments, "--help").out


@pytest.mark.parametrize("value", ["", ",", "a,,b", "a, "])
def test_an_empty_item_of_modules_is_refused(taskq: Taskq, app: App, value: str) -> None:
    run = taskq("tasks", "-A", value)

    assert (run.code, run.out) == (2, "")
    assert run.err == "taskq: -A has an empty item; give it MODULE[:APP]\n"


def test_help_loads_no_command() -> None:
    code = (
        "import sys; from taskq.cli.main import main; main(['--help']);"
        "sys.exit(any(name.startswith('taskq.cli.q') for name in sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    assert b"queues" in done.stdout


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskq", "nothing"], capture_output=True, check=False, text=True
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("taskq: unknown command 'nothing'")


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    environ = {name: text for name, text in os.environ.items() if not name.startswith("TASKQ_")}

    done = subprocess.run(
        [sys.executable, "-m", "taskq", "config"],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
        env=environ,
    )
    os.close(write)

    assert done.stderr == b""


def test_a_warning_about_the_environment_has_the_programs_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskq", "config"],
        cwd=tmp_path,
        env=environment({"TASKQ_GRUP": "x"}),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr == (
        "taskq: unknown setting in the environment, ignored: TASKQ_GRUP; did you mean TASKQ_GROUP?\n"
    )


def test_summaries_of_commands_are_not_cut(taskq: Taskq) -> None:
    assert "..." not in taskq("schedule", "--help").out.partition("Commands:")[2]


def test_help_keeps_the_lines_of_a_script(taskq: Taskq) -> None:
    lines = taskq("completion", "--help").out.splitlines()

    assert "  fish:  taskq completion fish > ~/.config/fish/completions/taskq.fish" in lines


def test_the_workers_help_tells_defaults(taskq: Taskq) -> None:
    help = " ".join(taskq("worker", "--help").out.split())

    for said in ("default 25", "default and most: 64", "default taskq", "from the earliest record"):
        assert said in help


def test_a_module_that_fails_is_one_line(taskq: Taskq, tmp_path: Path) -> None:
    (tmp_path / "own_failing.py").write_text("raise ValueError('no luck')")

    run = taskq("tasks", "-A", "own_failing")

    assert run.code == 2
    assert run.err.startswith("taskq: cannot load the app 'own_failing': ValueError: no luck (")
    assert run.err.count("\n") == 1


def test_help_loads_neither_tables_nor_words() -> None:
    code = (
        "import sys; from taskq.cli.main import main; main(['--help']); main(['doctor', '--help']);"
        "sys.exit(any(name in sys.modules for name in ('rich', 'cron_descriptor')))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
