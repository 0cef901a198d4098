"""Beats die, freeze, lose the broker, come and go, and the broker restarts, while sixty schedules are due, fifty every second.

For each schedule and each of its instants there is exactly one task in the end, and whoever was told to stop did so with exit code
0. Ten minutes of it, with take-over times: `python -m tests.scenarios.beatlab --help`.
"""

from __future__ import annotations

import os
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.scenarios.lab.beatcount import NAMES
from tests.scenarios.lab.beats import run_beats
from tests.scenarios.test_faults import SEED
from tests.support.kafka import Kafka


@pytest.mark.timeout(500)
def test_every_instant_of_every_schedule_has_exactly_one_task(
    linked_kafka: Kafka, tmp_path: Path
) -> None:
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(1_000_000))

    report = run_beats(seed, 120, linked_kafka, tmp_path, print)

    print(asdict(report))
    assert report.problems == []
    assert report.occurrences > 50 * 120
    assert set(report.take_over) == set(NAMES.values()), "each kind of fault was done"
