"""Each example runs by itself against a Kafka, ends, and prints what its README shows."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.kafka import Kafka, is_required
from tests.support.processes import ROOT, environment

FOLDERS = sorted(
    readme.parent
    for readme in (ROOT / "examples").glob("*/README.md")
    if readme.parent.name != "taskmanager"  # runs until it is stopped; see test_taskmanager.py
)
NEEDS = {
    "django": ("django",),
    "fastapi": ("fastapi", "httpx"),
    "traces": ("opentelemetry",),
}
LONGEST = 80
"""Lines of a program: an example is read as a whole."""


def shown(folder: Path) -> tuple[str, list[str]]:
    """Return the program that the README runs, and the lines that it says it prints."""
    block = re.search(
        r"^```console\n\$ python (\S+)\n(.*?)^```$",
        (folder / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert block is not None, f"{folder.name}/README.md shows no run"
    return block[1], block[2].splitlines()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_example_prints_what_its_readme_shows(folder: Path, kafka: Kafka, queue: str) -> None:
    missing = [name for name in NEEDS.get(folder.name, ()) if find_spec(name) is None]
    if missing and not is_required():
        pytest.skip(f"{', '.join(missing)} is not installed: pip install -e '.[examples]'")
    program, lines = shown(folder)
    env = environment({"TASKQ_BROKER": kafka.bootstrap, "TASKQ_PREFIX": f"{queue}-"})

    done = subprocess.run(
        [sys.executable, program],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    # Tasks without a common key have no order among each other.
    assert sorted(done.stdout.splitlines()) == sorted(lines), done.stderr


def test_examples_end_with_one_line_where_no_kafka_answers() -> None:
    env = environment({"TASKQ_BROKER": "127.0.0.1:9", "TASKQ_PUBLISH_TIMEOUT": "2"})
    folders = [
        folder
        for folder in FOLDERS
        if folder.name != "traces"  # needs none
        and all(map(find_spec, NEEDS.get(folder.name, ())))
    ]

    started = [
        subprocess.Popen(
            [sys.executable, shown(folder)[0]],
            cwd=folder,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for folder in folders
    ]

    for folder, process in zip(folders, started, strict=True):
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1, folder.name
        # What the client tells meanwhile is its own.
        lines = [line for line in said.splitlines() if not line.startswith("Kafka at ")]
        assert len(lines) == 1, said
        assert "no Kafka broker answers at 127.0.0.1:9" in lines[0]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_example_is_short(folder: Path) -> None:
    for program in folder.glob("*.py"):
        assert len(program.read_text().splitlines()) <= LONGEST, program
