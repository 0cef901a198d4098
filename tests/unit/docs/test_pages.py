"""The docs name everything that a user can name, and nothing that does not exist; links between pages lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

import taskq
import taskq_kafka
from taskq import errors
from taskq.cli import main
from taskq.cli.options import common_options
from taskq.events import EVENTS, METRICS
from taskq.exitcodes import EXIT_CODES
from taskq.settings import SETTINGS

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        *ROOT.glob("*.md"),
        *(ROOT / "benchmarks").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)
CONTRACT = frozenset({"dev", "doctor", "find", "purge", "topics", "workers"})
"""Commands that a page may name before they are built; those that are there are looked at closely."""


@cache
def page(path: Path) -> str:
    """Return a page."""
    return path.read_text(encoding="utf-8")


def docs(name: str) -> str:
    """Return a page of the docs."""
    return page(DOCS / name)


def commands(
    group: click.Command = main.cli, name: str = "taskq", parent: click.Context | None = None
) -> Iterator[tuple[str, click.Command]]:
    """Yield all commands that are not hidden, by their full name."""
    context = click.Context(group, info_name=name, parent=parent)
    assert isinstance(group, click.Group)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        assert command is not None
        yield f"{name} {each}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {each}", context)


def options_of(command: click.Command) -> set[str]:
    """Return the names of a command's options, those of all commands too."""
    own = [each for each in command.params if not getattr(each, "hidden", False)]
    known = [*own, *common_options(json=True)]
    names = {name for each in known for name in (*each.opts, *each.secondary_opts)}
    return {name for name in names if name.startswith("-")} | {"--help"}


# Everything is there


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_is_in_the_docs(name: str) -> None:
    assert f"| `{name}` |" in docs("reference/settings.md")


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_command_is_in_the_docs_with_all_its_options(name: str, command: click.Command) -> None:
    text = docs("reference/commands.md")

    assert f"\n## {name}\n" in text
    section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
    general = text.split("\n## taskq ")[0]
    for option in options_of(command) - {"--help"}:
        assert f"`{option}`" in section + general, option


def test_option_of_no_command_is_in_the_docs() -> None:
    assert "--version" in docs("reference/commands.md")


@pytest.mark.parametrize("package", [taskq, taskq_kafka])
def test_every_event_that_is_logged_is_in_the_docs(package: Any) -> None:
    files = Path(package.__file__).parent.rglob("*.py")
    logged = {
        name for file in files for name in re.findall(r'"event": "([a-z_.]+)"', file.read_text())
    }

    text = docs("reference/events.md")
    assert not {name for name in logged | set(EVENTS) if f"| `{name}` |" not in text}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_in_the_docs(name: str) -> None:
    assert f"| `{name}` |" in docs("reference/events.md")


def test_every_reason_of_a_dead_letter_is_in_the_docs() -> None:
    # Where a reason is given: as the first argument of an error or an outcome, after record and envelope, or by name.
    given = re.compile(
        r"(?:DecodeError\(|Failed\(|Refused\(record, \w+(?:\(record\))?,"
        r'|[._]refused\(record, envelope,|_failed(?:_for_good)?\(\s*call,|reason=)\s*"(\w+)"'
    )
    files = Path(taskq.__file__).parent.rglob("*.py")
    reasons = {name for file in files for name in given.findall(file.read_text())}
    reasons |= {"failed", "rejected", "time_limit", "worker_died"}  # written in other shapes

    text = docs("reference/headers.md")
    assert reasons >= {
        "failed",
        "retries_exhausted",
        "unknown_task",
        "unreadable",
        "bad_arguments",
        "offset_expired",
    }
    assert not {name for name in reasons if f"\n| `{name}` |" not in text}


def test_every_public_name_is_in_the_docs() -> None:
    text = docs("reference/python.md")
    public = set(taskq.__all__) - {name for name in vars(errors) if not name.startswith("_")}

    assert "automodule:: taskq.errors" in text
    assert not {name for name in public if not re.search(rf"taskq\.{name}\b", text)}


def test_every_exit_code_is_in_the_docs() -> None:
    text = docs("reference/exit-codes.md")

    assert not {code for code in EXIT_CODES if f"\n| `{code}` " not in text}


# Nothing is there that does not exist


def named_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the words of each call of `taskq` in the pages."""
    for path in PAGES:
        text = page(path)
        consoles = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in consoles for line in re.findall(r"^\$ (.*)$", block, re.M)]
        lines += re.findall(r"`((?:\w+=\S+ )*taskq [^`\n]*)`", text)
        for line in lines:
            if found := re.match(r"(?:[A-Z_]+=\S+ )*taskq (.*)", line):
                yield f"{path.relative_to(ROOT)}: {line}", shlex.split(found[1], comments=True)


@pytest.mark.parametrize(
    "words", [pytest.param(words, id=where) for where, words in named_commands()]
)
def test_command_line_in_the_docs_exists(words: list[str]) -> None:
    command: click.Command = main.cli
    context = click.Context(command, info_name="taskq")
    left = list(words)
    while isinstance(command, click.Group) and left and not left[0].startswith(("-", "COMMAND")):
        found = command.get_command(context, left[0])
        if found is None:
            assert command is main.cli, f"no such command: {left[0]}"
            assert left[0] in CONTRACT
            return
        command, context = found, click.Context(found, info_name=left[0], parent=context)
        del left[0]

    given = [word.split("=")[0] for word in left if re.match(r"--?[a-zA-Z]", word)]
    given = [option for option in given if option not in ("--version", "-a", "-k")]
    assert not [option for option in given if option not in options_of(command)]


# Links


def slug(heading: str) -> str:
    """Return a heading's anchor, as GitHub and MyST make it."""
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return text.replace(" ", "-")


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page."""
    text = re.sub(r"^```.*?^```$", "", page(path), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page(path), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert not broken
