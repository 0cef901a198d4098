"""Five fields in the other dialect."""

from __future__ import annotations

import pytest

from taskq.cron import CronSchedule
from taskq.cron.dialects import read_elsewhere
from taskq.cron.sentence import sentence


@pytest.mark.parametrize(
    ("dialect", "other", "words"),
    [
        ("standard", "robfig-v1", "At 5 minutes past the hour (UTC)."),
        ("robfig-v1", "standard", "At 05:00 (UTC)."),
    ],
)
def test_five_fields_are_read_as_the_other_dialect_does(
    dialect: str, other: str, words: str
) -> None:
    found = read_elsewhere(CronSchedule.parse("0 5 * * *", dialect))

    assert found is not None
    assert (found.dialect, sentence(found)) == (other, words)


@pytest.mark.parametrize(
    ("expression", "dialect"),
    [
        ("0 0 5 * * *", "seconds"),
        ("0 0 5 * * *", "robfig-v1"),
        ("@daily", "standard"),
        ("@every 5s", "auto"),
        ("CRON_TZ=UTC 0 5 * * *", "standard"),
        ("0 0 1 1 MON", "standard"),  # a month MON is refused there, so nobody is misled
    ],
)
def test_nothing_is_read_elsewhere_that_cannot_be_mistaken(expression: str, dialect: str) -> None:
    assert read_elsewhere(CronSchedule.parse(expression, dialect)) is None
