from __future__ import annotations

from dataclasses import replace

from taskq.events import METRICS
from taskq.protocols import IntakeStatus
from taskq.worker.health import Pulse
from taskq.worker.metrics import IntakeFacts, WorkerFacts, exposition

INTAKE = IntakeFacts(
    IntakeStatus(partitions=(0, 2, 5), lag=7, blocked={2: 40}, refused=(5,)),
    Pulse("billing", True, 98.5, "", True),
    in_hand=3,
    claimed=11,
    unwritten={0},
    refused={"unknown_task": 2},
)
FACTS = WorkerFacts(
    slots=4,
    busy=2,
    unfinished=3,
    held=1,
    ended={("invoice", "succeeded"): 9, ("invoice", "failed"): 1},
    letters={("billing", "failed"): 1, ("billing", "unknown_task"): 1},
    intakes=[INTAKE],
    now=100.0,
)


def test_everything_that_is_told_has_a_name_and_a_meaning() -> None:
    lines = exposition(FACTS).splitlines()

    told = {line.split()[2] for line in lines if line.startswith("# HELP")}
    assert told == set(METRICS)
    assert "# TYPE taskq_tasks_ended_total counter" in lines
    assert "# TYPE taskq_slots gauge" in lines


def test_a_partition_that_stands_still_is_told_with_its_reason() -> None:
    lines = exposition(FACTS).splitlines()

    assert [line for line in lines if line.startswith("taskq_partition_blocked")] == [
        'taskq_partition_blocked{queue="billing",partition="2",reason="unfinished_task"} 1',
        'taskq_partition_blocked{queue="billing",partition="5",reason="commit_refused"} 1',
        'taskq_partition_blocked{queue="billing",partition="0",reason="dead_letter"} 1',
    ]


def test_what_does_not_stand_still_is_not_told() -> None:
    moving = replace(INTAKE, status=IntakeStatus(), unwritten=())

    assert "taskq_partition_blocked" not in exposition(replace(FACTS, intakes=[moving]))


def test_dead_letters_of_what_ran_and_what_could_not_run_add_up() -> None:
    lines = exposition(FACTS).splitlines()

    assert 'taskq_dead_letters_total{queue="billing",reason="failed"} 1' in lines
    assert 'taskq_dead_letters_total{queue="billing",reason="unknown_task"} 3' in lines


def test_silence_is_in_seconds() -> None:
    assert 'taskq_queue_silence_seconds{queue="billing"} 1.5' in exposition(FACTS).splitlines()


def test_large_counters_are_told_whole() -> None:
    many = replace(FACTS, ended={("a", "succeeded"): 123_456_789_012})

    assert 'outcome="succeeded"} 123456789012' in exposition(many)


def test_names_of_tasks_are_escaped() -> None:
    odd = replace(FACTS, ended={('a"b\\c\nd', "succeeded"): 1})

    assert 'task="a\\"b\\\\c\\nd",' in exposition(odd)
