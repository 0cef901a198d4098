"""How fast tasks run that do nothing, printed beside the bare client's claim loop of the same minute; asserted is that all ran."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.claim_loop import claim_loop
from benchmarks.noop import report
from taskq_kafka.admin import Admin
from taskq_kafka.options import TransportOptions
from tests.support.kafka import Kafka
from tests.support.station import PATIENCE, Station, station
from tests.support.waiting import wait_until

COUNT = 20_000


@pytest.fixture
def place(kafka: Kafka, tmp_path: Path) -> Iterator[Station]:
    with station(kafka.bootstrap, tmp_path, "speed") as place:
        yield place


def fill(place: Station) -> None:
    with place.app() as app:
        noop = app.task("benchmark.noop")(lambda number, text: None)
        noop.delay_many([(number, "a few letters") for number in range(COUNT)])


def test_all_of_20000_tasks_run(place: Station, capsys: pytest.CaptureFixture[str]) -> None:
    times = place.folder / "times"
    place.variables["BENCHMARK_TIMES"] = str(times)
    command = ["worker", "-A", "benchmarks.noop", "-c", "2", "-l", "warning"]
    worker = place.processes.taskq(*command, env=place.environment)
    worker.wait_for_line("benchmark.noop", timeout=PATIENCE)
    worker.freeze()  # the queue is filled meanwhile: who fills it needs the processor too
    fill(place)
    worker.thaw()

    admin = Admin.shared(TransportOptions(bootstrap=place.bootstrap))

    def is_empty() -> bool:
        (status,) = admin.queue_status([place.queue], group=place.group, timeout=PATIENCE)
        return status.lag == 0

    wait_until(is_empty, timeout=PATIENCE, what="the end of the queue")
    assert worker.stop(timeout=PATIENCE) == 0
    ran = report(times)
    bare, bare_cpu = claim_loop(place.bootstrap, place.queue, COUNT)

    with capsys.disabled():
        print(
            f"\n{COUNT} no-op tasks, -c 2: {ran.runs / ran.seconds:,.0f} tasks/s "
            f"(CPU a task: worker {ran.worker_us:.0f} us, pool {ran.pool_us:.0f} us); bare claim loop: "
            f"{COUNT / bare:,.0f} records/s (CPU a record: {1e6 * bare_cpu / COUNT:.0f} us)"
        )
    assert ran.runs == COUNT
