"""What a host fires first, and how it parts what was refused together."""

from __future__ import annotations

from typing import Any, cast

import pytest

from taskq.timing.shards import Firing
from taskq_kafka.shardset import Due, OpenShard, ShardSet, parts, settle, take


class Fake:
    """A shard with firings due at given times."""

    def __init__(self, *due: int) -> None:
        self.due = list(due)
        self.settled: list[str] = []

    def next_due(self) -> int | None:
        return min(self.due, default=None)

    def take(self, now_ms: int, limit: int) -> list[Firing]:
        taken = [each for each in sorted(self.due) if each <= now_ms][:limit]
        self.due = [each for each in self.due if each not in taken]
        return [Firing(str(each)) for each in taken]

    def settle(self, firings: list[Firing]) -> None:
        self.settled += [firing.name for firing in firings]

    def __len__(self) -> int:
        return len(self.due)


def shards(*fakes: Fake, ready: bool = True) -> ShardSet:
    found = ShardSet()
    for partition, fake in enumerate(fakes):
        found.open(partition, cast(Any, fake))
        opened = found.get(partition)
        assert opened is not None
        opened.ready = ready
    return found


def due(count: int) -> list[Due]:
    owner = OpenShard(0, cast(Any, Fake()))
    return [Due(owner, Firing(str(number))) for number in range(count)]


def names(found: list[Due]) -> list[str]:
    return [each.firing.name for each in found]


def test_a_shard_that_was_not_read_to_its_end_fires_nothing() -> None:
    found = shards(Fake(1), ready=False)

    assert found.next_due() is None
    assert found.asked(100) == []
    assert found.asked(100, all_of_them=True) == []


def test_the_shard_whose_first_is_longest_due_comes_first() -> None:
    found = shards(Fake(30), Fake(10, 90), Fake(20), Fake())

    asked = found.asked(50)

    assert [each.partition for each in asked] == [1, 2, 0]
    assert names(take(asked, 50, 10)) == ["10", "20", "30"]
    assert found.next_due() == 90


def test_only_what_was_held_up_for_so_long_counts_as_hanging() -> None:
    found = shards(Fake(), Fake(), Fake())
    for partition, held_at in enumerate([None, 40.0, 41.0]):
        opened = found.get(partition)
        assert opened is not None
        opened.held_at = held_at

    assert [each.partition for each in found.held_longer_than(60, 100)] == [1]


def test_no_more_than_the_limit_is_taken() -> None:
    found = shards(Fake(1, 2, 3), Fake(4, 5, 6))

    assert names(take(found.asked(9), 9, 4)) == ["1", "2", "3", "4"]


def test_each_shard_is_told_of_its_own_firings() -> None:
    one, two = Fake(1, 2), Fake(3)

    settle(take(shards(one, two).asked(9), 9, 10))

    assert (one.settled, two.settled) == (["1", "2"], ["3"])


def test_a_forgotten_shard_is_neither_asked_nor_counted() -> None:
    found = shards(Fake(1, 2), Fake(3))

    assert found.forget([0, 7]) == [0]

    assert found.partitions == (1,)
    assert found.status(member=True).waiting == 1


@pytest.mark.parametrize(
    ("suspects", "wanted"),
    [
        ([], [["0", "1"], ["2", "3", "4"]]),
        ([0, 1, 2, 3, 4], [["0", "1"], ["2", "3", "4"]]),
        ([3], [["0", "1", "2", "4"], ["3"]]),
        ([4, 0], [["1", "2", "3"], ["0"], ["4"]]),
    ],
)
def test_what_was_refused_together_is_tried_again_without_suspects_or_in_halves(
    suspects: list[int], wanted: list[list[str]]
) -> None:
    found = parts(due(5), suspects)

    assert [names(list(part)) for part in found] == wanted
