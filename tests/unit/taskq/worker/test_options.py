from __future__ import annotations

from pathlib import Path

import pytest

from taskq.app import App
from taskq.errors import InvalidQueueName, InvalidSetting, UsageError
from taskq.settings import Layer
from taskq.sources import Sources
from taskq.worker.cpus import available_cpus
from taskq.worker.options import WorkerOptions, doubts, worker_options


def _options(
    *,
    only: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    **settings: object,
) -> WorkerOptions:
    app = App()
    app.adopt(Sources((Layer("flag", settings),)))
    app.task("a")(lambda: None)
    app.task("b", queue="billing")(lambda: None)
    return worker_options(
        app.settings, app.registry, host="host", only=only, without=without, also=also
    )


def test_without_queues_it_takes_the_default_queue_and_those_of_all_tasks() -> None:
    assert _options().queues == ("billing", "taskq")


def test_queues_can_be_named_and_left_out() -> None:
    assert _options(only=("x", "y", "x")).queues == ("x", "y")
    assert _options(without=("taskq",)).queues == ("billing",)


def test_no_queue_is_an_error() -> None:
    with pytest.raises(UsageError):
        _options(without=("taskq", "billing"))


def test_an_app_without_tasks_is_an_error() -> None:
    app = App()

    with pytest.raises(UsageError, match="the app has no tasks; name its module with -A"):
        worker_options(app.settings, app.registry, host="host", only=("billing",))


@pytest.mark.parametrize(
    ("only", "without", "lines"),
    [
        (("bill",), (), ["-Q bill: no task of the app has this queue; did you mean 'billing'?"]),
        (("xyz",), (), ["-Q xyz: no task of the app has this queue"]),
        (("taskq", "billing"), (), []),
        (
            (),
            ("biling",),
            ["-X biling: this worker would not take it anyway; did you mean 'billing'?"],
        ),
        (("billing",), ("taskq",), ["-X taskq: this worker would not take it anyway"]),
        ((), ("taskq",), []),
    ],
)
def test_queues_that_are_probably_not_meant_are_told(
    only: tuple[str, ...], without: tuple[str, ...], lines: list[str]
) -> None:
    app = App()
    app.adopt(Sources())
    app.task("b", queue="billing")(lambda: None)

    assert list(doubts(app.settings, app.registry, only=only, without=without)) == lines


def test_queues_that_are_named_and_that_no_task_goes_to_are_strange() -> None:
    app = App()
    app.adopt(Sources())
    app.task("b", queue="billing")(lambda: None)

    def strange(*only: str, also: tuple[str, ...] = ()) -> tuple[str, ...]:
        options = worker_options(app.settings, app.registry, host="h", only=only, also=also)
        return options.strange

    assert strange("biling", "billing", "taskq") == ("biling",)
    assert strange(also=("mails",)) == ()


def test_slots_that_the_pool_solo_does_not_have_are_told() -> None:
    app = App()
    app.adopt(Sources((Layer("flag", {"pool": "solo", "concurrency": 4}),)))

    (line,) = doubts(app.settings, app.registry)

    assert line == "the pool solo runs one task at a time; concurrency 4 is not used"


@pytest.mark.parametrize(("pool", "is_told"), [("prefork", False), ("threads", True)])
def test_time_limits_that_the_pool_cannot_keep_are_told(pool: str, is_told: bool) -> None:
    app = App()
    app.adopt(Sources((Layer("flag", {"pool": pool}),)))
    app.task("slow", time_limit=30)(lambda: None)
    app.task("soft", soft_time_limit=30)(lambda: None)

    @app.task("async", time_limit=30)
    async def on_the_loop() -> None: ...

    lines = list(doubts(app.settings, app.registry))

    assert [line.partition(";")[0] for line in lines] == (
        ["the pool threads cannot end a plain function: time_limit is not kept for slow"]
        if is_told
        else []
    )


@pytest.mark.parametrize(
    ("only", "without", "told"),
    [
        (("billing",), (), ["bill"]),
        ((), ("billing",), ["slow"]),
        (("mails",), (), []),
        ((), (), ["bill, slow"]),
    ],
)
def test_only_time_limits_of_tasks_of_own_queues_are_told(
    only: tuple[str, ...], without: tuple[str, ...], told: list[str]
) -> None:
    app = App()
    app.adopt(Sources((Layer("flag", {"pool": "threads"}),)))
    app.task("bill", time_limit=30, queue="billing")(lambda: None)
    app.task("slow", time_limit=30)(lambda: None)
    app.task("mail", queue="mails")(lambda: None)

    lines = list(doubts(app.settings, app.registry, only=only, without=without))

    assert [
        line.partition(";")[0].partition("kept for ")[2] for line in lines if "kept for" in line
    ] == told


def test_limits_of_processes_that_the_pool_does_not_have_are_told() -> None:
    app = App()
    app.adopt(Sources((Layer("flag", {"pool": "threads", "max_tasks_per_child": 3}),)))

    assert list(doubts(app.settings, app.registry)) == [
        "max_tasks_per_child is not used: the pool threads has no processes"
    ]


@pytest.mark.parametrize("queue", ["a/b", "x.dlq", ""])
def test_bad_queue_names_are_refused(queue: str) -> None:
    with pytest.raises(InvalidQueueName):
        _options(only=(queue,))
    with pytest.raises(InvalidQueueName):
        _options(without=(queue,))


def test_queues_of_a_schedule_come_on_top_unless_some_are_chosen() -> None:
    assert "scheduled" in _options(also=("scheduled",)).queues
    assert _options(only=("a",), also=("scheduled",)).queues == ("a",)


def test_slots_by_pool() -> None:
    assert _options(pool="asyncio").concurrency == 100
    assert _options(pool="solo", concurrency=5).concurrency == 1
    assert _options(concurrency=5).concurrency == 5
    assert _options().concurrency == available_cpus()


def test_more_processes_than_a_machine_has_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="1,000 at the most"):
        _options(concurrency=1_000_000)


def test_the_name_is_the_hosts_unless_given() -> None:
    assert _options().name == "host"
    assert _options(name="w7").name == "w7"


@pytest.mark.parametrize(
    ("text", "cpus"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", None), ("?", None)]
)
def test_cpus_are_what_the_cgroup_allows(tmp_path: Path, text: str, cpus: int | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text)

    assert available_cpus(file) == (cpus or available_cpus(tmp_path / "missing"))
