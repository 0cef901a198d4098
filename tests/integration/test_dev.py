"""`taskq dev` as a process: what it starts, what it prints, and that nothing of it is left."""

from __future__ import annotations

import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import Kafka
from tests.support.processes import Process, Processes, process_table, send_signal
from tests.support.waiting import wait_until

TASKS = """
import time
from taskq import task

@task("greet", queue="greetings")
def greet(name):
    print(f"hello {name}")

@task("sleep", queue="greetings")
def sleep():
    print("asleep")
    time.sleep(300)
"""
SEND = ("-m", "taskq", "send")
FAST = ("-A", "own_tasks", "-P", "threads", "-c", "2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module of tasks."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "own_tasks.py").write_text(TASKS)
    return folder


@pytest.fixture
def temporary() -> Iterator[Path]:
    """An empty folder for temporary files, with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="dev-") as name:
        yield Path(name)


def rewrite(file: Path, text: str) -> None:
    """Replace a file in one step: who watches it sees one change, however slow this process is."""
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


def wait_gone(pids: set[int]) -> None:
    """Wait until none of the processes lives."""
    wait_until(
        lambda: not pids & {entry.pid for entry in process_table() if not entry.is_zombie},
        timeout=60,
        what=f"the end of {pids}",
    )


def has_left(process: Process, family: list[int]) -> set[int]:
    """Return those of a process's family that still live although it has ended."""
    assert not process.is_running
    return set(family) & {entry.pid for entry in process_table() if not entry.is_zombie}


def test_ctrl_c_ends_it_all_and_leaves_nothing(
    processes: Processes, folder: Path, temporary: Path
) -> None:
    (folder / "plan.json").write_text(
        '[{"id": "1", "cron": "@every 1s", "task": "greet", "args": ["you"]}]'
    )
    dev = processes.taskq(
        "dev", "-A", "own_tasks", "-s", "plan.json", cwd=folder, env={"TMPDIR": str(temporary)}
    )
    dev.wait_for_line(r"^worker \| hello you$", timeout=60)
    family = dev.family()

    dev.signal(signal.SIGINT)

    assert dev.wait(timeout=60) == 0
    assert has_left(dev, family) == set()
    assert list(temporary.iterdir()) == []
    first, *lines = dev.text.splitlines()
    assert re.fullmatch(r"export TASKQ_BROKER=127\.0\.0\.1:\d+", first)
    assert {line[:9] for line in lines} == {"worker | ", "beat   | ", "dev    | "}
    assert lines[-1] == "dev    | the embedded broker is gone, and all that was in it"
    stopped = [line for line in lines if line.endswith((": stopped", "beat has stopped"))]
    assert [line[:6] for line in stopped] == ["beat  ", "worker"]
    assert not [line for line in lines if "WARNING" in line or "ERROR" in line]


def test_the_command_sends_to_the_worker_and_its_end_ends_nothing(
    processes: Processes, folder: Path
) -> None:
    script = "import sys, taskq; taskq.send_task('greet', ['me'], queue='greetings'); print('sent'); sys.exit(3)"
    env = {"TASKQ_BROKER": "127.0.0.1:1"}  # of a shell that was used for something else before
    dev = processes.taskq("dev", *FAST, "--", sys.executable, "-c", script, cwd=folder, env=env)

    dev.wait_for_line(r"^worker \| hello me$", timeout=60)
    dev.wait_for_line(r"^run    \| sent$")
    dev.wait_for_line(r"^dev    \| .*python.* ended with exit code 3$")
    dev.wait_for_line(r"^dev    \| the broker that the environment names is not used")

    assert dev.stop(timeout=60) == 0


def test_what_the_command_left_running_ends_too(processes: Processes, folder: Path) -> None:
    dev = processes.taskq("dev", *FAST, "--", "sh", "-c", "sleep 1000 & echo pid $!", cwd=folder)
    pid = int(dev.wait_for_line(r"^run    \| pid (\d+)$", timeout=60)[1])
    dev.wait_for_line(r"ended with exit code 0$")
    assert pid in {entry.pid for entry in process_table() if not entry.is_zombie}

    assert dev.stop(timeout=60) == 0
    wait_gone({pid})


def test_the_streams_stay_apart_and_the_export_is_the_first_line(
    processes: Processes, folder: Path
) -> None:
    (folder / "own_tasks.py").write_text(f"print('imported')\n{TASKS}")
    command = [
        sys.executable,
        "-m",
        "taskq",
        "dev",
        *FAST,
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2",
    ]
    dev = processes.start(["sh", "-c", 'exec "$@" 2>errors.log', "sh", *command], cwd=folder)
    dev.wait_for_line(r"^run    \| out$", timeout=60)
    errors = folder / "errors.log"
    wait_until(lambda: "run    | err\n" in errors.read_text(), timeout=30, what="the other stream")

    assert dev.stop(timeout=60) == 0
    assert dev.text.startswith("export TASKQ_BROKER=")
    assert "\x1b" not in dev.text + errors.read_text()


def test_a_real_broker_is_used_and_stays(
    processes: Processes, kafka: Kafka, folder: Path, queue: str, group: str
) -> None:
    (folder / "plan.json").write_text(
        f'[{{"id": "1", "cron": "@every 1s", "task": "greet", "args": ["you"], "queue": "{queue}"}}]'
    )
    dev = processes.taskq(
        *("dev", "-b", kafka.bootstrap, *FAST, "-s", "plan.json"),
        cwd=folder,
        env={"TASKQ_GROUP": group, "TASKQ_BROKER": "127.0.0.1:1"},
    )

    dev.wait_for_line(r"^worker \| hello you$", timeout=60)

    assert dev.stop(timeout=60) == 0
    assert dev.text.startswith(f"export TASKQ_BROKER={kafka.bootstrap}\n")
    assert "gone" not in dev.text


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["-A", "no_such_tasks"], 2, "cannot load the app 'no_such_tasks': there is no module"),
        (["-A", "broken"], 2, "cannot load the app 'broken': ZeroDivisionError"),
        (
            ["-A", "own_tasks", "-s", "missing.json"],
            2,
            "schedule file missing.json: there is no such file",
        ),
        (["-P", "thread"], 2, "invalid setting pool"),
        (["-A", "own_tasks", "-Q", "a b"], 2, "invalid queue name 'a b'"),
        (["-b", "memory://"], 2, "memory:// is one process's own"),
        ([], 2, "the app has no tasks; name its module with -A"),
        (["own_tasks"], 2, "there is no program 'own_tasks' to run; a module with tasks"),
        (["-A", "own_tasks", "-b", "127.0.0.1:1"], 3, "no broker answers at 127.0.0.1:1"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_starts(
    processes: Processes, folder: Path, arguments: list[str], code: int, line: str
) -> None:
    (folder / "broken.py").write_text("print('imported')\n1 / 0")

    dev = processes.taskq("dev", *arguments, cwd=folder, env={"TASKQ_CONNECT_TIMEOUT": "1"})

    assert dev.wait(timeout=60) == code
    assert dev.text.removeprefix("imported\n").startswith(f"taskq: {line}")
    assert dev.text.removeprefix("imported\n").count("\n") == 1


def test_a_worker_that_dies_ends_it_all(processes: Processes, folder: Path) -> None:
    dev = processes.taskq("dev", *FAST, cwd=folder)
    dev.wait_for_line("worker: ready", timeout=60)
    family = dev.family()
    (worker,) = (entry.pid for entry in process_table() if entry.parent == dev.pid)

    send_signal([worker], signal.SIGKILL)

    assert dev.wait(timeout=60) == 1
    assert "dev    | worker was killed by SIGKILL, so dev stops\n" in dev.text
    assert has_left(dev, family) == set()


def test_a_second_signal_ends_it_at_once_and_leaves_nothing(
    processes: Processes, folder: Path, temporary: Path
) -> None:
    dev = processes.taskq(
        *("dev", "-A", "own_tasks", "--", sys.executable, *SEND, "sleep"),
        cwd=folder,
        env={"TMPDIR": str(temporary)},
    )
    dev.wait_for_line(r"^worker \| asleep$", timeout=60)
    family = dev.family()

    dev.signal(signal.SIGINT)
    dev.wait_for_line("stopping: takes no more", timeout=30)
    dev.signal_again(signal.SIGINT)

    assert dev.wait(timeout=60) == 130
    assert re.search(r"^worker \| .*lost: .*claimed and not finished", dev.text, re.MULTILINE)
    assert has_left(dev, family) == set()
    assert list(temporary.iterdir()) == []


def test_a_task_that_is_given_up_at_the_end_of_the_grace_is_a_failure(
    processes: Processes, folder: Path
) -> None:
    dev = processes.taskq(
        *("dev", "-A", "own_tasks", "--", sys.executable, *SEND, "sleep"),
        cwd=folder,
        env={"TASKQ_GRACE": "0"},
    )
    dev.wait_for_line(r"^worker \| asleep$", timeout=60)

    assert dev.stop(timeout=60) == 1
    assert "dev    | worker ended with exit code 1\n" in dev.text


def test_nothing_outlives_a_dev_that_is_killed(processes: Processes, folder: Path) -> None:
    (folder / "plan.json").write_text(
        '[{"id": "1", "cron": "@every 1s", "task": "greet", "args": ["you"]}]'
    )
    dev = processes.taskq("dev", "-A", "own_tasks", "-s", "plan.json", cwd=folder)
    dev.wait_for_line(r"^worker \| hello you$", timeout=60)
    family = set(dev.family())

    dev.kill()

    wait_gone(family)


def test_reload_starts_anew_after_a_change_and_survives_a_mistake(
    processes: Processes, folder: Path
) -> None:
    plan = '[{"id": "1", "cron": "@every 1s", "task": "greet", "args": ["NAME"]}]'
    (folder / "plan.json").write_text(plan.replace("NAME", "one"))
    tasks = folder / "own_tasks.py"
    dev = processes.taskq("dev", *FAST, "-s", "plan.json", "--reload", cwd=folder)
    dev.wait_for_line(r"^worker \| hello one$", timeout=60)

    rewrite(tasks, TASKS.replace("hello", "good morning"))
    dev.wait_for_line(r"^dev    \| own_tasks.py changed: worker and beat start anew$", timeout=60)
    dev.wait_for_line(r"^worker \| good morning one$", timeout=60)

    rewrite(tasks, "1 / 0")
    dev.wait_for_line(r"^worker \| taskq: cannot load the app 'own_tasks': Zero", timeout=60)
    dev.wait_for_line(
        r"^dev    \| worker ended with exit code 2; it starts again when a file changes$",
        timeout=60,
    )

    rewrite(folder / "plan.json", plan.replace("NAME", "two"))
    rewrite(tasks, TASKS)
    dev.wait_for_line(r"^worker \| hello two$", timeout=60)
    family = dev.family()

    assert dev.stop(timeout=60) == 0
    assert has_left(dev, family) == set()


def test_reload_starts_beat_for_the_first_cron_and_beat_is_silent_without_one(
    processes: Processes, folder: Path
) -> None:
    dev = processes.taskq("dev", *FAST, "--reload", cwd=folder)
    dev.wait_for_line(r"^worker \| .* ready$", timeout=60)

    rewrite(folder / "own_tasks.py", "def broken(:\n")
    dev.wait_for_line(
        r"^dev    \| worker ended with exit code 2; it starts again when a file changes$",
        timeout=60,
    )

    added = (
        '\n\n@task("tick", cron="@every 1s", queue="greetings")\ndef tick():\n    print("tick")\n'
    )
    rewrite(folder / "own_tasks.py", TASKS + added)
    dev.wait_for_line(r"^worker \| tick$", timeout=60)

    assert dev.stop(timeout=60) == 0
    assert "beat ended" not in dev.text
    assert dev.text.count("cannot load the app") == 1
