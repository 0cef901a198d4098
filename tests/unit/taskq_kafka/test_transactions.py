"""In which order the records of a transaction are handed over."""

from __future__ import annotations

from taskq_kafka.transactions import Line, in_order


def line(topic: str, partition: int) -> Line:
    return topic, partition, None, b"", []


def test_the_first_record_of_each_partition_comes_before_all_others_which_keep_their_order() -> (
    None
):
    lines = [line("q", 1), line("q", 1), line("log", 1), line("q", 1), line("q", 2)]

    found = in_order(lines)

    assert [number for number, _ in found] == [0, 2, 4, 1, 3]
    assert [lines[number] for number, _ in found] == [each for _, each in found]
