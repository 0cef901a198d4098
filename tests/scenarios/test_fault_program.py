"""One of three brokers is killed and comes back, and half of all partitions get another leader; the fault lab's program counts.

Nothing that two brokers have is lost, nothing runs twice; the program keeps what it found, and goes on from there.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.processes import ROOT, Processes


@pytest.mark.timeout(600)
def test_a_killed_broker_of_three_and_moved_leaders_lose_and_repeat_nothing(
    kafka_home: Installation, processes: Processes, tmp_path: Path
) -> None:
    state, output = tmp_path / "state.json", tmp_path / "faults.json"
    what = ("--nodes", "3", "--mix", "broker", "--faults", "2", "--freezes", "0")
    command = ("-m", "benchmarks.faults", *what, "--state", str(state), "--output", str(output))

    assert processes.python(*command, cwd=ROOT).wait(timeout=400) == 0

    (lab,) = json.loads(output.read_text())["labs"]
    assert lab["faults"] == {"KILL_BROKER": 1, "MOVE_LEADERS": 1}
    assert (lab["at_most_once"]["twice"], lab["at_most_once"]["never"]) == (0, 0)
    assert lab["at_least_once"]["never"] == 0
    assert "| kill -9 of a broker, and a new start | 1 |" in output.with_suffix(".md").read_text()

    before = state.read_text()
    again = processes.python(*command, cwd=ROOT)
    assert again.wait(timeout=60) == 0
    assert state.read_text() == before, "it was all done, and is done again"
