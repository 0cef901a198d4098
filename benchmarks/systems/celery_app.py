"""Celery's worker: `celery -A benchmarks.systems.celery_app worker`; the broker's URL is in `BENCHMARK_URL`.

Settings as its documentation advises for throughput: no results, a prefetch of 64 messages a process (its default is 4).
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_shutdown, worker_shutdown

from benchmarks.systems import work

app = Celery("benchmark", broker=os.environ.get("BENCHMARK_URL", "redis://localhost"))
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    broker_connection_retry_on_startup=True,
    task_default_queue=os.environ.get("BENCHMARK_QUEUE", "benchmark"),
)

noop = app.task(name="benchmark.noop")(work.noop)
stamp = app.task(name="benchmark.stamp")(work.stamp)
doze = app.task(name="benchmark.doze")(work.doze)
punctual = app.task(name="benchmark.punctual")(work.punctual)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
@worker_shutdown.connect  # type: ignore[untyped-decorator]
def write(**kwargs: Any) -> None:
    """Write down what this process did."""
    work.mine.write()


app.conf.beat_schedule = {
    str(number): {"task": "benchmark.noop", "schedule": 1.0, "args": (number, "a few letters")}
    for number in range(int(os.environ.get("BENCHMARK_ENTRIES", "0")))
}
