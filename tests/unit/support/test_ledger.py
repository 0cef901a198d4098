"""The ledger: whole lines, and the count of what ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def test_empty_ledger_has_no_entries(ledger: Ledger) -> None:
    assert ledger.entries() == []


def test_line_that_is_not_whole_is_left_out(ledger: Ledger) -> None:
    ledger.write("a")
    with ledger.path.open("a") as file:
        file.write("b ra")

    assert ledger.ids() == ["a"]


def test_tally_tells_once_never_twice_and_unsent(ledger: Ledger) -> None:
    for id in ("once", "twice", "twice", "unsent"):
        ledger.write(id)
    ledger.write("never", event="claimed")

    tally = ledger.tally(["once", "twice", "never"])

    assert tally.once == {"once"}
    assert tally.never == {"never"}
    assert tally.twice == {"twice": 2}
    assert tally.unsent == {"unsent"}


def test_detail_may_hold_spaces(ledger: Ledger) -> None:
    ledger.write("a", "ran", "partition 3 offset 4")

    assert ledger.entries()[0].detail == "partition 3 offset 4"


def test_wait_counts_different_tasks(ledger: Ledger) -> None:
    ledger.write("a")
    ledger.write("a")

    with pytest.raises(TimeoutError):
        ledger.wait_for(2, timeout=0.0)
