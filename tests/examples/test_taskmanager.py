"""The task manager example: in its folder `taskq dev` alone is enough, or plain `taskq worker` and `taskq beat`."""

from __future__ import annotations

from tests.support.kafka import Kafka
from tests.support.processes import ROOT, Processes

FOLDER = ROOT / "examples" / "taskmanager"


def test_settings_file_makes_a_plain_dev_enough(processes: Processes) -> None:
    dev = processes.taskq("dev", cwd=FOLDER)

    dev.wait_for_line("processing invoice", timeout=60)
    dev.wait_for_line("processing birthday", timeout=30)
    assert dev.stop(timeout=60) == 0


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
