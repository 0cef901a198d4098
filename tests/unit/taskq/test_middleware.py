from __future__ import annotations

from types import SimpleNamespace

import pytest

from taskq.middleware import HookFailed, Hooks


class Noting:
    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def worker_ready(self) -> None:
        self.notes.append("ready")


class Raising:
    def worker_ready(self) -> None:
        raise ValueError("no")


def test_methods_are_called_in_order_also_after_one_that_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes: list[str] = []

    Hooks([Noting(notes), Raising(), Noting(notes)]).call("worker_ready")

    assert notes == ["ready", "ready"]
    assert [getattr(record, "event", "") for record in caplog.records] == ["hook.failed"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_hook_that_would_end_its_process_is_logged(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    notes: list[str] = []

    def ends() -> None:
        raise error

    Hooks([SimpleNamespace(worker_ready=ends), Noting(notes)]).call("worker_ready")

    assert notes == ["ready"]
    assert [getattr(record, "event", "") for record in caplog.records] == ["hook.failed"]


def test_a_start_hook_that_raises_says_whose_it_is() -> None:
    with pytest.raises(HookFailed, match=r"hook worker_ready of Raising raised ValueError: no"):
        Hooks([Raising()]).call_strictly("worker_ready")


def test_objects_without_a_method_do_not_matter() -> None:
    hooks = Hooks([object()])

    hooks.call("before_run", None)

    assert not hooks.has("before_run")
