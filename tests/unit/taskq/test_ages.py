from __future__ import annotations

from datetime import timedelta

import pytest

from taskq.ages import read_age


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2h30m", timedelta(hours=2, minutes=30)),
        ("7d", timedelta(days=7)),
        ("1D12h", timedelta(days=1, hours=12)),
        ("45", timedelta(seconds=45)),
        (" 0s ", timedelta(0)),
    ],
)
def test_ages_are_read(text: str, age: timedelta) -> None:
    assert read_age(text) == age


@pytest.mark.parametrize("text", ["", "7w", "-1d", "1.5h", "m", "30m2h", "٣d", "soon"])
def test_what_is_no_age_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is no age such as 90s"):
        read_age(text)


def test_an_age_beyond_all_calendars_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        read_age("999999999d999999999h")
