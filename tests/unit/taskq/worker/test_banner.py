from __future__ import annotations

import pytest

from taskq.registry import Registry
from taskq.worker.banner import Place, banner, banner_fields
from taskq.worker.options import WorkerOptions
from tests.support.fake_broker import isolated_app

OPTIONS = WorkerOptions(("billing", "mail"), "prefork", 4, "w1", 25.0, 64)
PLACE = Place("1.2", "localhost:9092", "taskq", "classic", {"billing": 12, "mail": 1})


@pytest.fixture
def registry() -> Registry:
    app, _ = isolated_app()
    app.task("invoice", queue="billing")(lambda: None)
    app.task("birthday")(lambda: None)
    return app.registry


def test_banner(registry: Registry) -> None:
    assert banner(OPTIONS, registry, PLACE) == (
        "taskq 1.2 worker w1\n"
        "- broker:  localhost:9092\n"
        "- group:   taskq (protocol classic)\n"
        "- pool:    prefork, concurrency 4\n"
        "- timers:  kept here, too\n"
        "[queues]\n"
        "  . billing (12 partitions)\n"
        "  . mail (1 partition)\n"
        "[tasks]\n"
        "  . invoice\n"
        "[tasks whose queue this worker does not take]\n"
        "  . birthday (queue taskq)"
    )


def test_the_banner_as_fields_of_a_log_record(registry: Registry) -> None:
    assert banner_fields(OPTIONS, registry, PLACE) == {
        "worker": "w1",
        "version": "1.2",
        "broker": "localhost:9092",
        "group": "taskq",
        "protocol": "classic",
        "pool": "prefork",
        "concurrency": 4,
        "timers": True,
        "queues": ["billing", "mail"],
        "partitions": {"billing": 12, "mail": 1},
        "steps": [],
        "tasks": ["invoice"],
        "tasks_elsewhere": ["birthday"],
    }
