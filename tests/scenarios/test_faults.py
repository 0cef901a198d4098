"""Workers die, freeze, come and go while tasks of microseconds to half a second pour in.

However they end, no task runs twice, and only what a killed worker had claimed never runs: its slots and what it held ahead. A
freeze past the session, a join and a stop lose nothing. Tasks with `acks_late`, in the same queue, all run to their end. The same
with 300 faults: `python -m benchmarks.faults --help`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.scenarios.lab.faults import HARMLESS_MIX, WORKER_MIX
from tests.scenarios.lab.rounds import Plan, run_round
from tests.support.cluster import KafkaCluster

SEED = "TASKQ_LAB_SEED"
"""The variable that repeats a run: the seed that a failed one printed."""


def seed() -> int:
    return int(os.environ.get(SEED) or random.SystemRandom().randrange(1_000_000))


@pytest.mark.timeout(600)
def test_thirty_faults_run_no_task_twice_and_lose_only_what_was_claimed(
    cluster_of_one: KafkaCluster, tmp_path: Path
) -> None:
    report = run_round(Plan(WORKER_MIX, 30, seed()), cluster_of_one, tmp_path, print)

    print(report.lines())
    assert report.problems == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_freezes_joins_and_stops_lose_nothing(
    cluster_of_one: KafkaCluster, tmp_path: Path, protocol: str
) -> None:
    report = run_round(Plan(HARMLESS_MIX, 8, seed(), protocol), cluster_of_one, tmp_path, print)

    print(report.lines())
    assert report.problems == []
    assert (report.never, report.cut_short) == (0, 0)
