"""Those who keep the time of waiting tasks are killed, stopped, joined, frozen and cut off past their session while tasks pour in.

However they end, each task is sent exactly once for those who read what is committed, and none early: an heir ends what its
predecessor had open, and one that wakes up from a freeze, or is connected again, commits nothing. What was cancelled is gone.
Longer: `python -m tests.scenarios.shardlab --help`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.scenarios.shardlab import run
from tests.support.kafka import Kafka


@pytest.mark.timeout(300)
def test_timers_are_fired_exactly_once_and_never_early_however_their_owners_end(
    linked_kafka: Kafka, tmp_path: Path
) -> None:
    seed = int(os.environ.get("TASKQ_LAB_SEED") or random.SystemRandom().randrange(1_000_000))

    report = run(
        linked_kafka, tmp_path, print, seconds=20, timers=3_000, seed=seed, countdown=(0.0, 10.0)
    )

    print(report.lines())
    assert report.problems == []
    assert report.fired == 3_000
