"""The figures of the fault lab as JSON and as a page."""

from __future__ import annotations

from benchmarks.faultpage import document, page
from tests.scenarios.lab.freezes import Freeze
from tests.scenarios.lab.report import Report, add_up

ROUND = Report(
    faults={"KILL_CHILD": 3, "MOVE_LEADERS": 1},
    sent=1100,
    once=999,
    never=1,
    most_lost=3,
    late=100,
    late_once=98,
    late_again=2,
    again_by={"KILL_CHILD": 2},
)
FREEZES = [
    Freeze(True, 1, 7.0, 0.5, 2),
    Freeze(False, 2, 14.0, 1.0, 1),
    Freeze(True, 3, 9.0, 0.1, 1),
]


def test_each_mode_has_its_own_counts() -> None:
    found = document(3, ROUND, [])

    assert found["at_most_once"] == {
        "sent": 1000, "once": 999, "never": 1, "never_bound": 3, "twice": 0,
    }  # fmt: skip
    assert found["at_least_once"] == {
        "sent": 100, "once": 98, "never": 0, "twice": 2,
        "twice_per_fault": 0.5, "starts_again_by_fault": {"KILL_CHILD": 2},
    }  # fmt: skip


def test_repeats_stand_beside_the_fault_that_caused_them() -> None:
    text = page([document(3, ROUND, [])], {"cores": "2"})

    assert "| kill -9 of one child | 3 | 2 |" in text
    assert "| half of all partitions are given another leader | 1 | 0 |" in text
    assert "SIGTERM" not in text, "a fault that was not done"


def test_freezes_with_and_without_an_heir_are_told_apart() -> None:
    text = page([document(1, ROUND, FREEZES)], {})

    assert "| another one takes over | 2 | 8.0 s | 9.0 s | 0.5 s |" in text
    assert "| it is the only one | 1 | 14.0 s | 14.0 s | 1.0 s |" in text


def test_what_is_wrong_stands_on_the_page() -> None:
    total = add_up([ROUND, Report(problems=["2 tasks ran more than once"])])

    assert "**Wrong:** 2 tasks ran more than once" in page([document(1, total, [])], {})


def test_rounds_add_up_to_their_sums_and_longest_times() -> None:
    total = add_up([Report(once=1, longest_stall=3.0), Report(once=2, longest_stall=2.0)])

    assert (total.once, total.longest_stall) == (3, 3.0)
