"""The command line, run in this process on an app with a fake broker."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from taskq.app import App
from taskq.cli.main import main
from tests.support.fake_broker import FakeBroker, attach


@dataclass(frozen=True)
class Run:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document that was printed."""
        return json.loads(self.out)


Taskq = Callable[..., Run]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    """The app that every command finds, whatever its -A."""
    app = App("test")

    @app.task("invoice", queue="billing", aliases=("old.invoice",))
    def invoice(customer: str, amount: int = 1) -> None: ...

    monkeypatch.setattr("taskq.loading.load_app", lambda modules, directory="": app)
    return app


@pytest.fixture
def broker(app: App, monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    """The broker of the app."""
    broker = FakeBroker()
    adopt = app.adopt

    def adopt_and_attach(sources: Any) -> None:
        app.close()
        adopt(sources)
        attach(app, broker)

    monkeypatch.setattr(app, "adopt", adopt_and_attach)
    return broker


@pytest.fixture
def taskq(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Taskq:
    """Run a command in an empty directory and without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("TASKQ_"):
            monkeypatch.delenv(name)

    def run(*arguments: str) -> Run:
        code = main(arguments)
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands believe that a person reads what they print, on a wide screen."""
    monkeypatch.setenv("COLUMNS", "160")
    for module in ("output", "queues"):
        monkeypatch.setattr(import_module(f"taskq.cli.{module}"), "is_terminal", lambda: True)
