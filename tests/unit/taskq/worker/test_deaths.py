from __future__ import annotations

from taskq.attempts import NONE, Attempt
from taskq.worker.deaths import MOST_RECORDS, Deaths
from tests.support.pools import PlainRecord


def died(number: int) -> Attempt:
    return Attempt(f"2026-11-23T17:00:{number:02}.000Z", "it was killed", "w")


def test_deaths_of_a_record_are_known_in_their_order_also_when_it_is_fetched_again() -> None:
    deaths = Deaths()
    deaths.note(PlainRecord(offset=1), died(1))
    deaths.note(PlainRecord(offset=2), died(2))
    deaths.note(PlainRecord(offset=1), died(3))

    assert deaths.of(PlainRecord(offset=1)).last == (died(1), died(3))


def test_what_is_forgotten_is_not_known() -> None:
    deaths = Deaths()
    record = PlainRecord(offset=1)
    deaths.note(record, died(1))

    deaths.forget(record)
    deaths.forget(record)

    assert deaths.of(record) == NONE
    assert not deaths


def test_of_very_many_records_those_that_died_longest_ago_are_forgotten() -> None:
    deaths = Deaths()
    for offset in range(MOST_RECORDS):
        deaths.note(PlainRecord(offset=offset), died(1))
    deaths.note(PlainRecord(offset=0), died(2))
    deaths.note(PlainRecord(offset=MOST_RECORDS), died(1))

    assert len(deaths) == MOST_RECORDS
    assert deaths.of(PlainRecord(offset=1)) == NONE
    assert deaths.of(PlainRecord(offset=0)).last == (died(1), died(2))
