"""Tasks that do to their process what a task should not do: exit, print, leak a thread, walk away to another directory.

One worker of each pool, with one slot, sees all of it. After each: the task ended as it should (a dead letter with its reason, or
none), the next task runs, and the worker lives to stop with 0.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.kafka import Kafka
from tests.support.ledger import Ledger
from tests.support.names import fresh_name
from tests.support.processes import Process, Processes
from tests.support.scene import START_SECONDS, Scene
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Stage:
    """A worker with one slot, for all tests of this file."""

    scene: Scene
    worker: Process
    home: Path
    """The worker's working directory."""

    def run(self, what: str = "nothing", detail: object = "") -> str:
        """Run a task to its end and return its id."""
        id = self.scene.send(what, detail)
        self.scene.wait_ended(id)
        return id

    def pid(self) -> int:
        """Run a task that does nothing, and return the process that ran it."""
        (entry,) = self.scene.wait_ended(self.scene.send())
        return entry.pid


in_every_pool = pytest.mark.parametrize(
    "stage", ["prefork", "threads", "asyncio", "solo"], indirect=True, scope="module"
)
in_prefork = pytest.mark.parametrize("stage", ["prefork"], indirect=True, scope="module")
"""What only a process of its own allows, or puts right."""


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest, kafka: Kafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    name = fresh_name("what_tasks_do")
    with (
        Processes(folder) as processes,
        Scene(kafka, processes, Ledger(folder / "ledger"), queue=name, group=name) as scene,
    ):
        kafka.create_topic(name, partitions=1)
        worker = scene.ready_worker("-P", request.param, slots=1)
        yield Stage(scene, worker, folder)


@in_every_pool
@pytest.mark.parametrize(
    ("what", "detail", "error"),
    [
        ("fail", "no luck", "ValueError: no luck"),
        ("exit", 3, "SystemExit: 3"),
        ("interrupt", "", "KeyboardInterrupt"),
    ],
)
def test_task_that_raises_is_a_dead_letter_and_its_process_lives(
    stage: Stage, what: str, detail: object, error: str
) -> None:
    before = stage.pid()

    id = stage.scene.send(what, detail)

    letter = stage.scene.wait_letters(id)[id]
    assert letter.reason == "failed"
    assert letter.error == error
    assert "scene_tasks.py" in str(letter.traceback)
    assert stage.pid() == before


@in_prefork
def test_task_that_ends_its_process_at_once_costs_itself_alone(stage: Stage) -> None:
    before = stage.pid()

    id = stage.scene.send("exit at once", 7)

    letter = stage.scene.wait_letters(id)[id]
    assert letter.reason == "worker_died"
    assert "ended with exit code 7" in str(letter.error)
    assert stage.pid() != before


@in_every_pool
@pytest.mark.parametrize(("how", "code"), [("exit", 3), ("fail", 1), ("return", 0)])
def test_process_that_a_task_forks_ends_where_it_leaves_the_task(
    stage: Stage, how: str, code: int
) -> None:
    before = stage.pid()

    id = stage.scene.send("fork", how)

    def told() -> list[str]:
        return [entry.detail for entry in stage.scene.ledger.entries("forked") if entry.id == id]

    assert wait_until(told, timeout=30, what="the forked process to end") == [str(code)]
    assert stage.pid() == before


@in_every_pool
def test_what_a_task_prints_reaches_the_workers_output(stage: Stage) -> None:
    text = fresh_name("printed")

    stage.run("print", text)

    stage.worker.wait_for_line(f"^stdout: {text}$")
    stage.worker.wait_for_line(f"^stderr: {text}$")


@in_prefork
def test_next_task_is_back_in_the_workers_directory(stage: Stage) -> None:
    stage.run("change directory", "/")

    id = stage.run("tell directory")

    told = [entry.detail for entry in stage.scene.ledger.entries("directory") if entry.id == id]
    assert told == [str(stage.home)]


@in_every_pool
def test_worker_that_saw_all_of_it_stops_with_0_past_a_leaked_thread(stage: Stage) -> None:
    stage.run("leak a thread")
    stage.pid()

    assert stage.worker.stop() == 0
    stage.worker.wait_gone()
    text = stage.worker.text
    # A process that a task forked prints what came out of the task, as any program does.
    assert text.count("Traceback") == text.count("ValueError: in the fork")
    assert stage.scene.ran_twice() == {}
    assert stage.scene.never_ran() == set()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_worker_without_stderr_runs_tasks_and_stops_with_0(scene: Scene, pool: str) -> None:
    command = [
        *("taskq", "worker", "-A", "tests.support.scene_tasks", "-b", scene.kafka.bootstrap),
        *("-Q", scene.queue, "--group", scene.group, "-c", "1", "-P", pool),
    ]
    worker = scene.processes.start(
        ["sh", "-c", 'exec "$0" -m "$@" 2>&-', sys.executable, *command],
        env={"TEST_LEDGER": str(scene.ledger.path)},
    )

    failed = scene.send("fail")
    scene.wait_letters(failed, timeout=START_SECONDS)
    scene.wait_ended(*scene.send_many(20))

    assert worker.stop() == 0
    assert worker.text == ""
    assert scene.ran_twice() == {}
