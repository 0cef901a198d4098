from __future__ import annotations

from taskq.worker.banner import Place, banner
from taskq.worker.options import WorkerOptions
from tests.support.fake_broker import isolated_app


def test_banner() -> None:
    app, _ = isolated_app()
    app.task("invoice", queue="billing")(lambda: None)
    app.task("birthday")(lambda: None)
    options = WorkerOptions(("billing", "mail"), "prefork", 4, "w1", 25.0, 64)
    place = Place("1.2", "localhost:9092", "taskq", "classic", {"billing": 12, "mail": 1})

    assert banner(options, app.registry, place) == (
        "taskq 1.2 worker w1\n"
        "- broker:  localhost:9092\n"
        "- group:   taskq (protocol classic)\n"
        "- pool:    prefork, concurrency 4\n"
        "[queues]\n"
        "  . billing (12 partitions)\n"
        "  . mail (1 partition)\n"
        "[tasks]\n"
        "  . invoice\n"
        "[tasks whose queue this worker does not take]\n"
        "  . birthday (queue taskq)"
    )
