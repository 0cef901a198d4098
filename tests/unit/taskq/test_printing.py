"""Values as people read them."""

from __future__ import annotations

import pytest

from taskq.printing import age, counted, runs


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (59.9, "59s"), (61, "1m 1s"), (3725, "1h 2m"), (90_000, "1d 1h")],
)
def test_an_age_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([4], "4"), ([1, 2], "1, 2"), ([0, 1, 2, 5, 7, 8, 9], "0-2, 5, 7-9")],
)
def test_runs_of_numbers_are_ranges(numbers: list[int], text: str) -> None:
    assert runs(numbers) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 records"), (1, "1 record"), (1234, "1,234 records")]
)
def test_a_count_has_its_word(count: int, text: str) -> None:
    assert counted(count, "record") == text
