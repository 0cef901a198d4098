"""How fast tasks run that do nothing, printed beside the bare client's claim loop of the same minute; asserted is that all ran."""

from __future__ import annotations

import pytest

from benchmarks.claim_loop import claim_loop
from benchmarks.drivers import Taskq
from benchmarks.throughput import throughput
from tests.support.kafka import Kafka

COUNT = 20_000


def test_all_of_20000_tasks_run(kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> None:
    driver = Taskq(kafka.bootstrap)

    rows = list(throughput(driver, pool="prefork", concurrency=2, count=COUNT, system="taskq"))
    seconds, cpu = claim_loop(kafka.bootstrap, driver.queue, COUNT)

    figures = ", ".join(f"{row.value:,.3g} {row.figure}" for row in rows)
    with capsys.disabled():
        print(
            f"\n{rows[0].measure}: {figures}; bare claim loop: {COUNT / seconds:,.0f} records/s, "
            f"{1000 * cpu / COUNT:.3f} CPU s per 1,000"
        )
