"""What a commit says of each partition, and what a claim leaves out."""

from __future__ import annotations

import pytest

from taskq_kafka import commitplan
from taskq_kafka.assignment import Assignment, Owned, Trouble
from taskq_kafka.commitplan import Plan, batches_of, plan_commit
from taskq_kafka.offsets import State
from taskq_kafka.records import Record

MOST = 60


@pytest.fixture
def short_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitplan, "METADATA_LIMIT", MOST)
    monkeypatch.setattr(commitplan, "GO_ON_BELOW", MOST * 3 // 4)


class Bench:
    """Partitions with records that were delivered."""

    def __init__(self, *counts: int) -> None:
        self.assignment = Assignment()
        self.records: dict[int, list[Record]] = {}
        for partition, count in enumerate(counts):
            owned = self.assignment.assign(partition, State(0))
            for offset in range(count):
                owned.offsets.deliver(offset)
            self.records[partition] = [
                record_of(partition, offset, owned.epoch) for offset in range(count)
            ]

    def owned(self, partition: int) -> Owned:
        owned = self.assignment.get(partition)
        assert owned is not None
        return owned

    def plan(self, *records: Record, starting: list[Record] | None = None) -> Plan:
        tags = {record.delivery_tag for record in starting or []}
        batches, _ = batches_of(records, self.assignment, starting=tags, alone=())
        self.batches = batches
        return plan_commit(self.assignment, batches, stamp="s.1", now=100.0)


def record_of(partition: int, offset: int, epoch: int) -> Record:
    tag = partition * 1000 + offset
    return Record("q", partition, offset, 0, None, b"", (), tag, epoch)


def test_a_claim_is_parted_by_partition_without_what_is_not_ours() -> None:
    bench = Bench(2, 2)
    mine, other = bench.records[0][1], bench.records[1][0]
    stale = record_of(0, 0, epoch=99)

    batches, gone = batches_of(
        [mine, stale, other],
        bench.assignment,
        starting={other.delivery_tag},
        alone={other.delivery_tag},
    )

    assert gone == [stale]
    assert (batches[0].settling, batches[0].starting) == ({1}, set())
    assert (batches[1].settling, batches[1].starting, batches[1].alone) == (set(), {0}, {0})


def test_a_commit_says_what_is_claimed_and_what_was_settled_since() -> None:
    bench = Bench(2, 2, 2)
    bench.owned(1).offsets.settle([0, 1])
    bench.owned(1).dirty = True

    plan = bench.plan(bench.records[0][0])

    assert {partition: state.offset for partition, state in plan.states.items()} == {0: 1, 1: 2}


def test_a_partition_whose_commits_fail_is_left_out_until_it_has_rested() -> None:
    bench = Bench(1)
    bench.owned(0).trouble = Trouble(retry_at=101.0)

    assert bench.plan(bench.records[0][0]).states == {}


def test_what_fits_no_commit_is_left_out_and_its_partition_is_full(short_metadata: None) -> None:
    bench = Bench(400)
    records = bench.records[0][1:]
    scattered = [record for record in records if record.offset % 5 in (0, 2)]

    plan = bench.plan(*records, starting=scattered)

    assert plan.full == [(bench.owned(0), 0)]
    assert bench.batches[0].records == []
    assert bench.batches[0].left_out == records
    assert plan.states == {}


def test_of_what_fits_no_commit_the_lowest_unfinished_is_kept(short_metadata: None) -> None:
    bench = Bench(400)
    records = bench.records[0]
    scattered = [record for record in records if record.offset % 5 in (0, 2)]

    plan = bench.plan(*records, starting=scattered)

    assert bench.batches[0].records == records[:1]
    assert bench.batches[0].left_out == records[1:]
    assert plan.states[0].marks.keys() == {0}


def test_a_full_partition_is_relieved_when_its_state_is_small(short_metadata: None) -> None:
    bench = Bench(2)
    owned = bench.owned(0)
    owned.blocked = owned.is_full = owned.dirty = True

    plan = bench.plan()

    assert plan.relieved == [owned]
    assert plan.full == []


def test_a_full_partition_whose_commits_fail_is_not_relieved() -> None:
    bench = Bench(2)
    owned = bench.owned(0)
    owned.blocked = owned.is_full = owned.dirty = True
    owned.trouble = Trouble(retry_at=99.0)

    assert bench.plan().relieved == []
