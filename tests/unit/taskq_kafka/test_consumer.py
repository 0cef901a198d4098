"""A consumer in situations that a broker makes seldom."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError

from taskq.timing.shards import Write
from taskq_kafka import commitplan, queuemoves
from taskq_kafka.consumer import QueueConsumer
from taskq_kafka.moves import Ending, MoveRequest
from taskq_kafka.offsets import Mark, State
from taskq_kafka.records import Record
from tests.support.fake_consumer import FakeClients, FakeTime, fake_clients


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> FakeClients:
    return fake_clients(monkeypatch)


def fetch(consumer: QueueConsumer, tries: int = 5) -> list[Record]:
    """Fetch a few times, so that an assignment and what is between two records are passed."""
    return [record for _ in range(tries) for record in consumer.fetch(1, 0)]


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", "") for record in caplog.records]


def test_an_offset_that_was_beyond_the_end_and_is_not_any_more_is_read_on_at(
    clients: FakeClients, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=40, committed=50)
    # The broker lost records 40 to 49; others came before anybody looked.
    clients.last.before_watermarks = lambda: setattr(clients.last, "high", 53)

    records = fetch(consumer)

    assert [record.offset for record in records] == [50, 51, 52]
    assert "consumer.log_truncated" not in events(caplog)


def test_an_offset_at_the_start_of_the_log_is_read_on_at_and_nothing_counts_as_deleted(
    clients: FakeClients, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(low=7, high=9, committed=6)
    clients.last.before_watermarks = lambda: setattr(clients.last, "low", 6)

    with caplog.at_level(logging.WARNING):
        records = fetch(consumer)

    assert [record.offset for record in records] == [6, 7, 8]
    assert "consumer.records_deleted" not in events(caplog)


def test_an_offset_beyond_the_end_goes_on_at_the_end(
    clients: FakeClients, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=40, committed=50)
    fetch(consumer)
    clients.last.high = 42

    with caplog.at_level(logging.ERROR):
        records = fetch(consumer)

    assert [record.offset for record in records] == [40, 41]


def test_an_offset_below_the_start_goes_on_at_the_start(
    clients: FakeClients, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(low=7, high=9, committed=2)

    with caplog.at_level(logging.WARNING):
        records = fetch(consumer)

    assert [record.offset for record in records] == [7, 8]
    assert "consumer.records_deleted" in events(caplog)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    return FakeTime(monkeypatch)


DENIED = KafkaError.TOPIC_AUTHORIZATION_FAILED


def claim_next(consumer: QueueConsumer) -> list[int]:
    """Fetch a record and claim it; return the offsets that may run."""
    if not consumer.assigned:
        consumer.fetch(1, 0)
    granted, _ = consumer.claim(consumer.fetch(1, 0))
    return [record.offset for record in granted]


def test_a_partition_whose_commit_failed_rests_and_goes_on_when_it_is_taken(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join(high=3)
    clients.last.commit_errors.append(DENIED)
    assert claim_next(consumer) == []

    assert fetch(consumer) == []
    clock.now += 2

    assert claim_next(consumer) == [0]
    assert claim_next(consumer) == [1]


def test_a_partition_whose_commits_keep_failing_is_tried_ever_more_seldom_and_said_once(
    clients: FakeClients, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=3)
    clients.last.commit_errors.extend([DENIED] * 1000)

    for _ in range(600):
        clock.now += 1
        assert claim_next(consumer) == []

    tries = clients.last.calls.count("commit")
    assert 10 <= tries <= 25
    assert [each.levelname for each in caplog.records].count("ERROR") == 1


def test_what_is_settled_on_a_partition_in_trouble_is_committed_in_the_end(
    clients: FakeClients, clock: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=1)
    consumer.settle(fetch(consumer))
    clients.last.commit_errors.extend([DENIED] * 3)

    with caplog.at_level(logging.INFO):
        for _ in range(100):
            clock.now += 1
            consumer.fetch(1, 0)

    assert clients.last.stored.offset == 1
    assert clients.last.calls.count("commit") == 4
    assert events(caplog) == ["consumer.blocked", "consumer.recovered"]
    assert not clients.last.is_paused


def test_a_partition_in_trouble_stays_paused_with_its_consumer(
    clients: FakeClients, clock: FakeTime
) -> None:
    consumer = clients.join(high=3)
    clients.last.commit_errors.append(DENIED)
    assert claim_next(consumer) == []
    consumer.pause()

    clock.now += 2

    assert fetch(consumer) == []
    assert clients.last.is_paused
    consumer.resume()
    assert claim_next(consumer) == [0]


MOST = 160
"""Characters that a commit's metadata may have in these tests: what it takes to fill the broker's limit is shown on a broker."""


@pytest.fixture
def short_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitplan, "METADATA_LIMIT", MOST)
    monkeypatch.setattr(commitplan, "GO_ON_BELOW", MOST * 3 // 4)


def fetch_all(consumer: QueueConsumer, count: int) -> list[Record]:
    """Fetch so many records."""
    found: list[Record] = []
    for _ in range(5):
        found += consumer.fetch(count - len(found) or 1, 0)
    assert len(found) == count
    return found


def scattered(consumer: QueueConsumer, records: list[Record]) -> tuple[list[Record], list[Record]]:
    """Start two of each five records and claim the others, in order, until no more is granted; return what is at work and left."""
    at_work: list[Record] = []
    for place in range(0, len(records), 10):
        part = records[place : place + 10]
        late = [record for record in part if record.offset % 5 in (0, 2)]
        granted, refused = consumer.claim(part, start=late)
        at_work += [record for record in granted if record in late]
        if refused:
            return at_work, records[place:]
    raise AssertionError("it always had room")


def test_a_partition_whose_state_fits_no_commit_stops_and_says_where(
    clients: FakeClients, short_metadata: None, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = clients.join(high=1000)
    records = fetch_all(consumer, 1000)

    at_work, left = scattered(consumer, records)

    stored = clients.last.stored
    state = State.parse(stored.offset, stored.metadata)
    assert MOST - 20 < len(stored.metadata or "") <= MOST
    assert state.marks.keys() == {record.offset for record in at_work}
    assert consumer.status().blocked == {0: 0}
    assert clients.last.is_paused
    (line,) = [each for each in caplog.records if getattr(each, "event", "") == "consumer.blocked"]
    assert getattr(line, "offset", None) == 0
    assert left


def test_a_commit_without_an_answer_is_told_and_stays_for_the_next_time(
    clients: FakeClients,
) -> None:
    consumer = clients.join(high=3)
    records = fetch_all(consumer, 3)
    consumer.claim(records, start=records)
    clients.last.commit_errors.append(KafkaError._TIMED_OUT)

    consumer.settle(records)

    assert not consumer.commit_settled()
    assert consumer.commit_settled()
    assert clients.last.stored.offset == records[-1].offset + 1


def test_a_partition_that_was_full_goes_on_when_its_state_is_small_again(
    clients: FakeClients, short_metadata: None
) -> None:
    consumer = clients.join(high=1000)
    at_work, left = scattered(consumer, fetch_all(consumer, 1000))

    consumer.settle(at_work[:1])
    consumer.commit_settled()
    still = consumer.status().blocked
    consumer.settle(at_work)
    consumer.commit_settled()

    assert still == {0: at_work[1].offset}
    assert consumer.status().blocked == {}
    assert not clients.last.is_paused
    assert clients.last.stored.offset == left[0].offset


def test_what_holds_a_full_partition_up_is_claimed_although_nothing_else_is(
    clients: FakeClients, short_metadata: None
) -> None:
    consumer = clients.join(high=1000)
    records = fetch_all(consumer, 1000)
    lowest, others = records[0], records[1:]
    _, left = scattered(consumer, others)

    granted, refused = consumer.claim([lowest, *left[-3:]], start=[lowest])

    assert granted == [lowest]
    assert refused == left[-3:]
    assert consumer.status().blocked == {0: 0}


def test_a_full_partition_fetches_what_holds_it_up_if_nobody_has_it(
    clients: FakeClients, short_metadata: None
) -> None:
    consumer = clients.join(high=1000)
    at_work, _ = scattered(consumer, fetch_all(consumer, 1000))

    consumer.give_back(at_work[:1], died=True)
    [again] = consumer.fetch(1, 0)

    assert (again.offset, again.deaths) == (at_work[0].offset, 1)


def test_what_is_at_work_when_its_consumer_closes_is_no_suspect(clients: FakeClients) -> None:
    consumer = clients.join(high=2)
    records = fetch_all(consumer, 2)
    consumer.claim(records, start=records)
    consumer.settle(records[:1])

    consumer.close()

    stored = clients.last.stored
    assert State.parse(stored.offset, stored.metadata).marks == {1: Mark(1, started=False)}


def test_what_was_at_work_when_its_owner_died_comes_as_a_suspect(clients: FakeClients) -> None:
    consumer = clients.join(high=2)
    records = fetch_all(consumer, 2)
    consumer.claim(records, start=records, alone=records[:1])
    stored = clients.last.stored
    clients.prepare = lambda client: setattr(client, "stored", stored)

    heir = clients.join(high=2)
    again = fetch_all(heir, 2)

    told = [(each.deliveries, each.deaths, each.is_suspect, each.redelivered) for each in again]
    assert told == [(1, 1, True, True), (1, 0, True, True)]


def test_what_was_settled_while_its_group_rebalanced_is_committed_afterwards(
    clients: FakeClients,
) -> None:
    consumer = clients.join(high=1)
    consumer.settle(fetch_all(consumer, 1))
    clients.last.commit_errors.append(KafkaError.REBALANCE_IN_PROGRESS)

    consumer.fetch(1, 0)
    refused = clients.last.stored.offset
    consumer.fetch(1, 0)

    assert refused < 0
    assert clients.last.stored.offset == 1


def test_end_that_was_reached_before_a_rebalance_hides_nothing_after_it(
    clients: FakeClients,
) -> None:
    consumer = clients.join(high=3)
    before = fetch_all(consumer, 3)
    clients.last.ends.append(3)

    assert consumer.fetch(1, 0) == []
    after = fetch_all(consumer, 3)

    assert [record.offset for record in after] == [record.offset for record in before] == [0, 1, 2]


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[MoveRequest]:
    """What consumers ask to be moved; all of it is."""
    asked: list[MoveRequest] = []

    class FakeMover:
        def __init__(self, options: object) -> None: ...

        def move(self, request: MoveRequest) -> Ending:
            asked.append(request)
            return Ending.DONE

    monkeypatch.setattr(queuemoves, "Mover", FakeMover)
    return asked


def move(consumer: QueueConsumer, records: list[Record]) -> list[Record]:
    """Move records and return the granted ones."""
    writes = [Write("taskq.timers", b"id", b"id", record.value) for record in records]
    granted, refused = consumer.move(records, writes)
    assert len(granted) + len(refused) == len(records)
    return granted


def test_a_move_says_what_is_at_work_beside_what_it_settles(
    clients: FakeClients, moves: list[MoveRequest]
) -> None:
    consumer = clients.join(high=3)
    move(consumer, fetch_all(consumer, 3))  # the first is refused
    late, _, early = fetch_all(consumer, 3)
    consumer.claim([late], start=[late])

    granted = move(consumer, [early])

    assert granted == [early]
    (request,) = moves
    state = request.states[0]
    assert (state.offset, state.unfinished, state.settled_end) == (0, (0, 1), 3)
    assert state.marks == {0: Mark(1, started=True)}


def test_what_is_moved_and_does_not_fit_a_commit_is_given_back(
    clients: FakeClients, short_metadata: None, moves: list[MoveRequest]
) -> None:
    consumer = clients.join(high=1000)
    move(consumer, fetch_all(consumer, 1000))  # the first is refused
    at_work, left = scattered(consumer, fetch_all(consumer, 1000))

    granted = move(consumer, left[-3:])
    consumer.settle(at_work)
    again = [record.offset for record in consumer.fetch(1000, 0)]

    assert (granted, moves) == ([], [])
    assert again[-3:] == [record.offset for record in left[-3:]]
