"""Instants as text: read strictly, written in UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq.instants import read_instant, write_instant, write_seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T17:00:00Z", datetime(2026, 11, 23, 17, tzinfo=timezone.utc)),
        ("2026-11-23 17:00+01:00", datetime(2026, 11, 23, 16, tzinfo=timezone.utc)),
        ("2026-11-23T17:00:00.5-0330", datetime(2026, 11, 23, 20, 30, 0, 500_000, timezone.utc)),
        ("2026-11-23T17:00:00.123456789z", datetime(2026, 11, 23, 17, 0, 0, 123_456, timezone.utc)),
    ],
)
def test_iso_8601_with_offset_is_read(text: str, expected: datetime) -> None:
    found = read_instant(text)

    assert found == expected
    assert found.tzinfo is timezone.utc


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-11-23T17:00:00", "has no offset"),
        ("2026-11-23", "is no time"),
        ("tomorrow", "is no time"),
        ("2026-02-30T17:00:00Z", "exists"),
        ("0001-01-01T00:00:00+01:00", "exists"),
        ("\u0662026-11-23T17:00:00Z", "is no time"),
    ],
)
def test_other_text_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_instant(text)


@given(st.datetimes(timezones=st.just(timezone(timedelta(hours=5)))))
@settings(max_examples=50)
def test_what_is_written_is_read_again(moment: datetime) -> None:
    if moment.year == 1:
        return

    assert read_instant(write_instant(moment)) == moment


def test_seconds_are_written_without_fraction() -> None:
    moment = datetime(2026, 11, 23, 17, 0, 1, 999_999, timezone.utc)

    assert write_seconds(moment) == "2026-11-23T17:00:01Z"
