from __future__ import annotations

import pytest

from taskq.errors import InvalidQueueName, InvalidSetting
from taskq.queues import check_prefix, check_queue


@pytest.mark.parametrize("name", ["taskq", "a.b_c-D9", "x" * 240, "p3", "q.p", "dlq", "q.px"])
def test_names_that_topics_may_have_are_allowed(name: str) -> None:
    assert check_queue(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "a b", "ä", "a/b", "a,b", "a\n", ".", "..", "x" * 241, "q.dlq", "q.p3", "q.p12",
        "q.pN", "taskq.timers", "taskq.", None, 3,
    ],
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidQueueName):
        check_queue(name)


def test_the_prefix_counts_towards_the_length() -> None:
    with pytest.raises(InvalidQueueName):
        check_queue("x" * 236, prefix="team.")


@pytest.mark.parametrize("prefix", ["a b", "a/", "x" * 121])
def test_a_prefix_must_leave_good_names(prefix: str) -> None:
    with pytest.raises(InvalidSetting):
        check_prefix(prefix)
