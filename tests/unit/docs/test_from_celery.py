"""The page for Celery's users has a row for each option that Celery knows."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from celery import Celery
from celery.app.task import Task
from celery.bin.worker import worker

PAGE = (Path(__file__).parents[3] / "docs" / "from-celery.md").read_text(encoding="utf-8")
OWN = {"self", "fun", "options", "app", "request_stack"}


def section(heading: str) -> str:
    """Return a section of the page."""
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def first_cells(text: str) -> set[str]:
    """Return the names in the first column of a section's tables."""
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_option_of_the_task_decorator_has_a_row() -> None:
    names = {
        name
        for name, value in vars(Task).items()
        if not name.startswith("_")
        and (not callable(value) or name in ("Strategy", "Request"))
        and not isinstance(value, (property, classmethod, staticmethod))
    }
    names |= set(inspect.signature(Celery._task_from_fun).parameters)

    assert not names - OWN - first_cells(section("@task"))


@pytest.mark.parametrize("sender", [Task.apply_async, Celery.send_task])
def test_every_option_of_sending_has_a_row(sender: object) -> None:
    assert callable(sender)
    names = set(inspect.signature(sender).parameters)

    missing = names - OWN - {"args", "kwargs", "name"}
    assert not missing - first_cells(section("apply_async and its family"))


def test_every_option_of_the_worker_has_a_row() -> None:
    names = {name for parameter in worker.params for name in parameter.opts}

    assert not names - first_cells(section("The worker's command line"))
