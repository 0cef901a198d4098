"""Which fault made a task start once more."""

from __future__ import annotations

from tests.scenarios.lab.blame import Repeat, Strike, blame
from tests.scenarios.lab.faults import Fault

KILL = Strike(1.0, Fault.KILL_CHILD, frozenset({7}))
FREEZE = Strike(2.0, Fault.FREEZE_WORKER, frozenset({8, 9}))
MOVE = Strike(3.0, Fault.MOVE_LEADERS)


def test_the_fault_that_struck_the_process_of_the_earlier_start_is_the_cause() -> None:
    found = blame([KILL, FREEZE, MOVE], [Repeat("a", 4.0, 7), Repeat("b", 4.0, 9)])

    assert found == {"KILL_CHILD": 1, "FREEZE_WORKER": 1}


def test_the_last_fault_is_the_cause_where_none_struck_the_process() -> None:
    assert blame([KILL, FREEZE, MOVE], [Repeat("a", 4.0, 1)]) == {"MOVE_LEADERS": 1}


def test_a_fault_after_the_repeat_is_not_its_cause() -> None:
    assert blame([KILL, FREEZE, MOVE], [Repeat("a", 2.5, 1)]) == {"FREEZE_WORKER": 1}
    assert blame([KILL], [Repeat("a", 0.5, 7)]) == {"NONE": 1}
