from __future__ import annotations

import pytest

from taskq_kafka.trimming import cut_below, of_topic


@pytest.mark.parametrize(
    ("committed", "first_young", "cut"),
    [
        ([7], -1, 7),
        ([7, 4, 9], -1, 4),
        ([7], 5, 5),
        ([7], 9, 7),
        ([7, -1001], -1, None),
        ([], -1, None),
        ([3], -1, None),
        ([2], -1, None),
        ([7], 3, None),
    ],
)
def test_a_partition_is_cut_below_what_all_groups_have_finished_and_all_that_is_young(
    committed: list[int], first_young: int, cut: int | None
) -> None:
    assert cut_below(3, committed, first_young) == cut


def test_groups_without_a_commit_on_the_topic_do_not_count() -> None:
    reads = {("q", 0): 5, ("q", 1): -1001}
    strangers = [{("q", 0): -1001, ("q", 1): -1001}, {("other", 0): 3}, {}]

    assert of_topic("q", [reads, *strangers]) == [reads]
