from __future__ import annotations

import pytest

from taskq.errors import DuplicateTask, UnknownTask
from taskq.registry import AnyTask, Registry
from taskq.task import Task
from tests.support.fake_broker import isolated_app


def test_a_task_is_found_by_name_and_alias() -> None:
    app, _ = isolated_app()

    @app.task("invoice", aliases=("old.invoice",))
    def invoice() -> None: ...

    assert app.registry.find("invoice") is invoice
    assert app.registry.find("old.invoice") is invoice
    assert list(app.registry) == [invoice]
    assert app.registry.names() == ["invoice", "old.invoice"]


def test_an_unknown_task_names_the_nearest() -> None:
    app, _ = isolated_app()

    @app.task("invoice")
    def invoice() -> None: ...

    with pytest.raises(UnknownTask) as caught:
        app.registry.find("invoce", "billing")

    assert (caught.value.name, caught.value.queue, caught.value.near) == (
        "invoce",
        "billing",
        "invoice",
    )


def test_two_functions_of_one_name_are_refused_and_neither_alias_is_taken() -> None:
    app, _ = isolated_app()

    @app.task("invoice")
    def invoice() -> None: ...

    with pytest.raises(DuplicateTask) as caught:

        @app.task("other", aliases=("fresh", "invoice"))
        def other() -> None: ...

    assert caught.value.name == "invoice"
    assert app.registry.get("fresh") is None
    assert app.registry.get("other") is None


def test_a_module_that_is_imported_twice_brings_its_tasks_again() -> None:
    app, _ = isolated_app()

    def function() -> None: ...

    registry = Registry()
    first: AnyTask = Task(function, app, name="t")
    second: AnyTask = Task(function, app, name="t")
    registry.add(first)

    registry.add(second)

    assert registry.find("t") is second


def test_queues_of_all_tasks_are_known() -> None:
    app, _ = isolated_app(default_queue="main")

    @app.task("a", queue="billing")
    def a() -> None: ...

    @app.task("b")
    def b() -> None: ...

    assert app.registry.queues() == ["billing", "main"]
