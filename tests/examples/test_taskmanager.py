"""The task manager example: one command that does everything, and plain `taskq worker` and `taskq beat` in its folder."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.support.installation import Installation
from tests.support.kafka import Kafka
from tests.support.processes import ROOT, Processes, environment, process_table

FOLDER = ROOT / "examples" / "taskmanager"


def test_one_command_shows_invoices_and_ends_with_all_its_processes(
    kafka_home: Installation, processes: Processes
) -> None:
    run = processes.python(str(FOLDER / "run.py"))

    run.wait_for_line(r"processing invoice: .*'task param xyz'.*Ireland", timeout=90)
    run.wait_for_line(r"processing invoice: param 'task param xyz', payload None", timeout=30)
    run.wait_for_line(r"processing birthday: param 'task param xyz'", timeout=30)
    family = set(run.family())
    run.signal(signal.SIGINT)

    assert run.wait(timeout=60) == 0
    assert not family & {entry.pid for entry in process_table() if not entry.is_zombie}
    assert "Traceback" not in run.text


def test_missing_java_is_told_in_one_line(tmp_path: object) -> None:
    env = environment({"PATH": "/nowhere", "JAVA_HOME": ""})

    done = subprocess.run(
        [sys.executable, str(FOLDER / "run.py")],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 3
    assert "no Java found" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_file_makes_plain_commands_enough(kafka: Kafka, processes: Processes) -> None:
    env = {"TASKQ_BROKER": kafka.bootstrap}

    worker = processes.taskq("worker", "-c", "4", cwd=FOLDER, env=env)
    beat = processes.taskq("beat", cwd=FOLDER, env=env)

    worker.wait_for_line("processing invoice", timeout=60)
    worker.wait_for_line("processing birthday", timeout=30)
    assert beat.stop() == 0
    assert worker.stop() == 0


def test_schedule_file_is_the_original_one() -> None:
    original = (ROOT / "tests" / "data" / "taskscheduler.json").read_bytes()

    assert (FOLDER / "taskscheduler.json").read_bytes() == original
