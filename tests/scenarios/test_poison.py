"""Tasks that crash their process, hang, or take all that there is, among good ones of the same queue.

Each must end in the dead letters with its reason, having started once, and cost itself alone: every good task runs once, also those
that the process of a bad one held, and the worker lives to stop with 0.
"""

from __future__ import annotations

import sys

import pytest

from tests.support.kafka import Kafka
from tests.support.scene import Scene

GOOD = 1000

LEAKS = 3
"""One too many for each to be the last that its process may run anyhow, which is then replaced for that reason: there are two."""

REASONS = {
    "segfault": "worker_died",
    "kill_itself": "worker_died",
    "call_exit": "failed",
    "recurse": "failed",
    "loop": "time_limit",
    "loop_on": "time_limit",
    "hoard": "failed",
}


@pytest.mark.skipif(sys.platform != "linux", reason="what a process may have is limited by Linux")
def test_poison_costs_itself_alone(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker(
        *("--max-tasks-per-child", "50", "--max-memory-per-child", "120MB"),
        slots=2,
        app="tests.scenarios.apps.poison",
    )
    scene.make_short()  # so that good ones are claimed ahead, behind bad ones

    bad: dict[str, str] = {}
    good: list[str] = []
    leaks = [scene.send_task("leak") for _ in range(LEAKS)]
    for name in REASONS:
        good += scene.send_many(GOOD // len(REASONS) + 1)
        bad |= {scene.send_task(name): name for _ in range(2)}

    scene.wait_ended(*good, timeout=120)
    letters = scene.wait_letters(*bad, timeout=120)
    scene.ledger.wait_for(len(bad) + LEAKS, event="poisoned", timeout=60)

    assert {id: letter.reason for id, letter in letters.items()} == {
        id: REASONS[name] for id, name in bad.items()
    }
    starts = [entry.id for entry in scene.ledger.entries("poisoned")]
    assert sorted(starts) == sorted([*bad, *leaks])
    assert scene.ran_twice() == {}
    assert scene.never_ran() == set()
    worker.wait_for_line("MB of memory after .*; it is replaced")
    worker.wait_for_line("has run 50 tasks; it is replaced")
    assert worker.stop() == 0, worker.text
    worker.wait_gone()
