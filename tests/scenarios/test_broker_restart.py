"""The broker goes away under load, in order and by SIGKILL, and comes back with its data a few seconds later.

Nothing it had acknowledged is lost or runs twice, and the workers go on by themselves.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.lab.faults import BROKER_MIX
from tests.scenarios.lab.rounds import Plan, run_round
from tests.scenarios.test_faults import seed
from tests.support.cluster import KafkaCluster


@pytest.mark.timeout(400)
@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_restarts_of_the_broker_lose_nothing_and_repeat_nothing(
    cluster_of_one: KafkaCluster, tmp_path: Path, protocol: str
) -> None:
    report = run_round(Plan(BROKER_MIX, 4, seed(), protocol), cluster_of_one, tmp_path, print)

    print(report.lines())
    assert report.problems == []
    assert (report.never, report.cut_short) == (0, 0)
