"""Where the records of firings go, and how many of them one transaction holds."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from taskq.protocols import Outgoing
from taskq.timing.shards import Firing, TimerLetter
from taskq_kafka.firinglines import FiringLines, Written, batches
from taskq_kafka.shardset import Due, OpenShard
from taskq_kafka.spread import Spread

PARTITIONS = 4


def firing(size: int = 0, queue: str = "q", key: bytes | None = None) -> Due:
    return Due(owner(0), Firing("one", [Outgoing(queue, b"x" * size, [], key)]))


def writing(partition: int, size: int) -> Due:
    return Due(owner(partition), Firing("one", writes=[(b"key", b"x" * size)]))


def owner(partition: int) -> OpenShard:
    return OpenShard(partition, cast(Any, None))


def written(*due: Due, partitions: int | None = PARTITIONS) -> list[Written]:
    lines = FiringLines("", "log", "letters", Spread(first=lambda count: 0))
    return list(lines.write(due, lambda topic: partitions))


def sizes(found: list[Written], most_bytes: int = 2_300, in_all: int = 100_000) -> list[int]:
    return [len(batch) for batch in batches(found, most_bytes, in_all)]


def test_what_is_due_at_once_is_shared_evenly_by_the_partitions_of_its_queue() -> None:
    found = written(*[firing() for _ in range(10)])

    counts = Counter(line[1] for each in found for line in each.lines)
    assert sorted(counts.values()) == [2, 2, 3, 3]


def test_turns_go_on_in_the_next_transaction() -> None:
    lines = FiringLines("", "log", "letters", Spread(first=lambda count: 2))

    found = [
        line[1]
        for _ in range(6)
        for each in lines.write([firing()], lambda topic: PARTITIONS)
        for line in each.lines
    ]

    assert found == [2, 3, 0, 1, 2, 3]


def test_a_queue_that_has_fewer_partitions_than_before_is_not_written_beyond_them() -> None:
    spread = Spread(first=lambda count: count - 1)

    assert [spread.take("q", 8), spread.take("q", 2), spread.take("q", 2)] == [7, 0, 1]


def test_the_client_chooses_for_a_record_with_a_key_and_where_partitions_are_not_known() -> None:
    (keyed,), (unknown,) = written(firing(key=b"k")), written(firing(), partitions=None)

    assert [keyed.lines[0][1], unknown.lines[0][1]] == [-1, -1]


def test_a_state_goes_to_the_partition_of_its_owner_and_a_letter_by_its_key() -> None:
    due = Due(owner(7), Firing("one", (), [(b"a", None)], [TimerLetter(b"b", b"", [])]))

    (found,) = written(due)

    assert [line[:3] for line in found.lines] == [("log", 7, b"a"), ("letters", -1, b"b")]


def test_a_transaction_holds_no_more_bytes_for_a_partition_than_it_may() -> None:
    evenly = written(*[firing(1_000) for _ in range(10)])

    assert sizes(evenly) == [8, 2]


def test_records_whose_partition_is_not_known_count_as_if_they_went_to_the_fullest() -> None:
    unknown = written(*[firing(1_000) for _ in range(5)], partitions=None)
    mixed = written(firing(1_000), firing(1_000), firing(1_000, key=b"k"), firing(1_000, key=b"k"))

    assert sizes(unknown) == [2, 2, 1]
    assert sizes(mixed) == [3, 1]


def test_what_goes_elsewhere_does_not_count() -> None:
    queues = [firing(1_000, queue, b"k") for queue in "aabb"]
    shards = [writing(number, 2_000) for number in range(5)]

    assert sizes(written(*queues)) == [4]
    assert sizes(written(*shards)) == [5]
    assert sizes(written(*shards, writing(2, 2_000))) == [5, 1]


def test_a_transaction_holds_no_more_bytes_in_all_than_it_may() -> None:
    evenly = written(*[firing(1_000) for _ in range(6)])

    assert sizes(evenly, in_all=2_500) == [2, 2, 2]


def test_headers_and_keys_count() -> None:
    headers = [("argsrepr", b"x" * 900)]
    plain = [Due(owner(0), Firing("one", [Outgoing("q", b"", headers)])) for _ in range(3)]
    keyed = [firing(0, key=b"k" * 1_000) for _ in range(3)]

    assert sizes(written(*plain, partitions=1)) == [2, 1]
    assert sizes(written(*keyed)) == [2, 1]


def test_a_firing_larger_than_a_transaction_may_be_goes_alone() -> None:
    assert sizes(written(firing(9_000), firing(9_000))) == [1, 1]
