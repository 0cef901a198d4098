"""Modules of the user that go wrong when they are imported: in the worker, or in a child that imports them itself.

What must not be inherited by a fork makes the worker slower and is named; what fails ends the worker with one line that says where.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.scene import START_SECONDS, Scene
from tests.support.waiting import wait_until

TASKS = "from tests.support.scene_tasks import app\n"
"""A user's module begins with it, and so has tasks."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working directory of workers, where their modules stand."""
    folder = tmp_path / "user"
    folder.mkdir()
    return folder


def write(folder: Path, text: str) -> None:
    """Write the module `shop`."""
    (folder / "shop.py").write_text(TASKS + text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nraise ValueError('no rates')\n", r"ValueError: no rates \(\S+/shop\.py:3\)"),
        ("\n\nimport no_such_thing\n", r"'no_such_thing' \(\S+/shop\.py:4\)"),
        ("def broken(:\n", r"SyntaxError: .* \(\S+/shop\.py:2\)"),
        ("import sys\nsys.exit('not today')\n", r"SystemExit: not today \(\S+/shop\.py:3\)"),
        ("import sys\nsys.exit()\n", r"SystemExit \(\S+/shop\.py:3\)"),
        ("import json\njson.loads('{')\n", r"JSONDecodeError: .* \(\S+/shop\.py:3\)"),
    ],
)
def test_module_that_cannot_be_imported_is_one_line(
    scene: Scene, folder: Path, text: str, said: str
) -> None:
    write(folder, text)

    worker = scene.worker(app="shop", cwd=folder)

    assert worker.wait(timeout=START_SECONDS) == 2
    assert re.fullmatch(rf"taskq: cannot load the app 'shop': .*{said}\n", worker.text)


def test_module_that_ends_the_process_ends_it(scene: Scene, folder: Path) -> None:
    write(folder, "import os\nos._exit(7)\n")

    worker = scene.worker(app="shop", cwd=folder)

    assert worker.wait(timeout=START_SECONDS) == 7
    worker.wait_gone()


STARTS_A_THREAD = """
import threading
threading.Thread(target=threading.Event().wait, name="rates", daemon=True).start()
"""

MAKES_A_CLIENT = """
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
"""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (STARTS_A_THREAD, "thread 'rates'"),
        (MAKES_A_CLIENT, "a Kafka Producer"),
    ],
)
def test_what_must_not_be_forked_is_named_and_the_worker_works(
    scene: Scene, folder: Path, text: str, what: str
) -> None:
    write(folder, text)

    worker = scene.ready_worker(app="shop", cwd=folder, slots=2)

    scene.wait_ended(*scene.send_many(20))
    scene.wait_letters(scene.send("kill itself"))
    scene.wait_ended(*scene.send_many(20))
    assert worker.stop() == 0
    assert scene.ran_twice() == {}
    warnings = [line for line in worker.text.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert f"module shop leaves {what} behind" in warnings[0]
    worker.wait_gone()


NOTES_ITS_IMPORT = """
import os
from pathlib import Path
with Path(__file__).with_name("imports").open("a") as file:
    print(os.getpid(), file=file)
"""


def test_modules_are_imported_once_however_many_processes_there_are(
    scene: Scene, folder: Path
) -> None:
    write(folder, NOTES_ITS_IMPORT)

    worker = scene.ready_worker(app="shop", cwd=folder, slots=3)
    scene.wait_letters(scene.send("kill itself"))
    scene.wait_ended(*scene.send_many(20))

    assert worker.stop() == 0
    assert (folder / "imports").read_text().split() == [str(worker.pid)]


ONLY_IN_THE_WORKER = """
import os
from pathlib import Path
first = Path(__file__).with_name("first")
if first.exists() and first.read_text() != str(os.getpid()):
    {trouble}
first.write_text(str(os.getpid()))
"""
"""Goes wrong in every process but the first that imports it, the worker itself."""


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("raise OSError('no licence')", "OSError: no licence"),
        ("os._exit(9)", "exit code 9"),
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
    ],
)
def test_module_that_fails_in_pool_processes_alone_ends_the_worker(
    scene: Scene, folder: Path, trouble: str, said: str
) -> None:
    write(folder, ONLY_IN_THE_WORKER.format(trouble=trouble) + STARTS_A_THREAD)

    worker = scene.worker(app="shop", cwd=folder, slots=2)

    assert worker.wait(timeout=START_SECONDS) == 1
    critical = [line for line in worker.text.splitlines() if "CRITICAL" in line]
    assert len(critical) == 1
    assert re.search(f"pool processes do not start .*{said}", critical[0])
    assert "Traceback" not in worker.text
    worker.wait_gone()


NEEDS_A_DATABASE = """
from pathlib import Path

@app.on("worker_process_init")
def connect():
    if Path(__file__).with_name("down").exists():
        raise ConnectionError("the database restarts")
"""


def test_start_hook_that_fails_for_a_while_costs_a_running_worker_nothing(
    scene: Scene, folder: Path
) -> None:
    write(folder, NEEDS_A_DATABASE)
    worker = scene.ready_worker(app="shop", cwd=folder, slots=2)
    running = scene.hold(scene.gate())

    (folder / "down").touch()
    deadly = scene.send("kill itself")
    scene.wait_letters(deadly)
    failure = r"ERROR worker: a pool process did not start: .*the database restarts"
    wait_until(
        lambda: len(re.findall(failure, worker.text)) > 3 or not worker.is_running,
        timeout=30,
        what="more failures in a row than a start may have",
    )
    (folder / "down").unlink()
    scene.wait_ended(
        *scene.send_many(20)
    )  # in the process that started at last: the other is taken
    scene.gate().touch()
    scene.wait_ended(running.id)

    assert worker.stop() == 0
    assert scene.letters().keys() == {deadly}
    assert scene.ran_twice() == {}
    worker.wait_gone()
