"""The quickstart, typed as it stands on a real Kafka: each command prints what the page shows.

Ids, times, offsets, names of machines and addresses differ from run to run and count as equal.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.kafka import Kafka
from tests.support.processes import ROOT, Process, Processes, environment
from tests.support.waiting import Deadline, wait_until

PAGE = (ROOT / "docs" / "quickstart.md").read_text()
INSTALL = ("python3 -m venv", ". .venv", "pip install")
PATIENCE = 60.0
LOG = re.compile(r"(\d{4}-\d\d-\d\d \S+ )?[A-Z]+ \w+: ")
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
CHANGING = (
    (r"\s+", " "),
    (r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", ""),
    (UUID, "ID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\bin \d+\.\d{3}s", "in SECONDS"),
    (r"(?<= 1 )\d+s\b", "AGE"),
    (r"^(worker-version: ).*", r"\1VERSION"),
    (r"billing/\d+/\d+", "billing/PARTITION/OFFSET"),
    (r"partitions [\d, ]+\d", "partitions NUMBERS"),
    (r"(broker:? ).*", r"\1ADDRESS"),
    (r"^(worker: |taskq \S+ worker ).*", r"\1NAME"),
    (r'"\S*/tasks\.py"', "tasks.py"),
)


def blocks() -> Iterator[tuple[str, str]]:
    """Yield the language and text of each code block of the page."""
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def calls(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block with the lines that it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield command, lines


class Reader:
    """Types what the page says."""

    def __init__(self, processes: Processes, folder: Path, kafka: Kafka, prefix: str) -> None:
        self.folder = folder
        self.prefix = prefix
        self.env = {"TASKQ_BROKER": kafka.bootstrap, "TASKQ_PREFIX": prefix}
        self.processes = processes
        self.running: list[Process] = []
        self.ids: dict[str, str] = {}
        """The page's ids, and what they were here."""

    def same(self, line: str) -> str:
        """Return a line without what changes from run to run."""
        line = line.replace(self.prefix, "").rstrip()
        for pattern, word in CHANGING:
            line = re.sub(pattern, word, line)
        return line

    def type(self, command: str, shown: list[str]) -> None:
        """Run a command and see that it prints what the page shows; worker and beat go on running."""
        for page, here in self.ids.items():
            command = command.replace(page, here)
        program, *arguments = shlex.split(command)
        if arguments and arguments[0] in ("worker", "beat"):
            process = self.processes.taskq(*arguments, cwd=self.folder, env=self.env)
            self.running.append(process)
            self.see(shown)
            if arguments[0] == "worker":
                self.see_nothing_else(process, shown)
            return
        start = ["-m", "taskq"] if program == "taskq" else []
        lines = self.printed(start + arguments)
        deadline = Deadline(PATIENCE)
        # The worker tells of a failure before the dead letter is written.
        while arguments[0] == "dlq" and not self.are_same(lines, shown) and not deadline.is_over:
            lines = self.printed(start + arguments)
        assert self.are_same(lines, shown), (command, lines)
        self.ids.update(
            (page, here)
            for page, here in zip(shown, lines, strict=True)
            if re.fullmatch(UUID, page)
        )

    def printed(self, arguments: list[str]) -> list[str]:
        """Run Python to its end and return the lines that it prints."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment(self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return done.stdout.splitlines()

    def are_same(self, lines: list[str], shown: list[str]) -> bool:
        """Return whether lines are those that the page shows."""
        return list(map(self.same, lines)) == list(map(self.same, shown))

    def see(self, shown: list[str]) -> None:
        """See that the running processes print these lines."""
        wanted = set(map(self.same, shown)) - {""}

        def missing() -> set[str]:
            return wanted - {
                self.same(line) for each in self.running for line in each.text.splitlines()
            }

        try:
            wait_until(lambda: not missing(), timeout=PATIENCE, what="what the page shows")
        except TimeoutError as error:
            raise AssertionError(f"not printed: {missing()}") from error

    def see_nothing_else(self, process: Process, shown: list[str]) -> None:
        """See that a process has printed no line that the page does not show, and its banner as it stands there."""
        printed = process.text.splitlines()

        assert list(map(self.same, banner(printed))) == list(map(self.same, banner(shown)))
        assert not set(map(self.same, printed)) - set(map(self.same, shown))


def banner(lines: list[str]) -> list[str]:
    """Return what is no line of the log."""
    return [line for line in lines if not LOG.match(line)]


def test_quickstart_prints_what_it_shows(
    kafka: Kafka, processes: Processes, tmp_path: Path, queue: str
) -> None:
    reader = Reader(processes, tmp_path, kafka, f"{queue}-")

    for language, text in blocks():
        if language == "python":
            (tmp_path / "tasks.py").write_text(text)
        elif language == "json":
            (tmp_path / "schedule.json").write_text(text)
        elif language == "text":
            if "stopping:" in text:
                for process in reversed(reader.running):
                    assert process.stop() == 0, process.text
            reader.see(text.splitlines())
        else:
            for command, shown in calls(text):
                if not command.startswith(INSTALL):
                    reader.type(command, shown)

    assert len(reader.running) == 2
    assert len(reader.ids) == 2
