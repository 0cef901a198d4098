"""The page about dead letters, typed as it stands on a real Kafka: each command prints what the page shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Taskq
from tests.support.kafka import Kafka
from tests.support.processes import ROOT
from tests.support.station import PATIENCE, Station, station
from tests.support.waiting import wait_until

PAGE = (ROOT / "docs" / "how-to" / "dead-letters.md").read_text(encoding="utf-8")
TASKS = """
from taskq import task

@task("invoice", queue="billing")
def invoice():
    raise ValueError("no rate of exchange")
"""


def typed() -> Iterator[tuple[list[str], list[str]]]:
    """Yield each command of the page, and the lines that it shows."""
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ taskq ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            yield shlex.split(command), lines


def words(line: str) -> list[str]:
    """Return a line without what changes from run to run: widths of columns, and times."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", line).split()


@pytest.fixture
def place(kafka: Kafka, tmp_path: Path) -> Iterator[Station]:
    with station(kafka.bootstrap, tmp_path, "page") as place:
        place.variables["TASKQ_PREFIX"] = f"{place.queue}-"
        yield place


def test_the_page_prints_what_it_shows(place: Station) -> None:
    taskq = Taskq(place)
    (place.folder / "billing_tasks.py").write_text(TASKS)
    worker = place.processes.taskq(
        *("worker", "-A", "billing_tasks", "-c", "1"), cwd=place.folder, env=place.environment
    )
    for task, *id in (("invoice",), ("invoice",), ("invoce", "--task-id", "remind")):
        assert taskq("send", task, "--queue", "billing", *id).code == 0
    wait_until(
        lambda: len(taskq("dlq", "list", "--json").json) == 3,
        timeout=PATIENCE,
        what="three dead letters",
    )
    assert worker.stop() == 0

    for command, shown in typed():
        done = taskq(*command)

        assert done.code == 0, (command, done)
        if command[:2] != ["dlq", "show"]:
            assert list(map(words, done.out.splitlines())) == list(map(words, shown)), command
