"""What the command `worker` refuses and says before it has looked for a broker."""

from __future__ import annotations

import pytest

from taskq.app import App
from tests.unit.taskq.cli.conftest import Taskq


@pytest.mark.parametrize("command", ["worker", "dev"])
def test_an_app_without_tasks_is_refused(
    taskq: Taskq, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("taskq.loading.load_app", lambda modules, directory="": App("empty"))

    run = taskq(command)

    assert (run.code, run.out) == (2, "")
    assert run.err == "taskq: the app has no tasks; name its module with -A\n"


@pytest.mark.parametrize(
    "arguments", [("worker",), ("send", "invoice", "-a", "[1]"), ("beat", "-s", "plan.json")]
)
def test_a_broker_that_lives_in_one_process_is_refused(
    taskq: Taskq, app: App, arguments: tuple[str, ...]
) -> None:
    run = taskq(*arguments, "-b", "memory://")

    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("taskq: memory:// lives in this process alone")
