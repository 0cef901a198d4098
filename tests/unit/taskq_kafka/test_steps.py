"""Which topic a priority leads to, and back."""

from __future__ import annotations

import pytest

from taskq_kafka.steps import (
    clamped,
    highest_first,
    queue_of_source,
    source_of,
    sources_of,
    step_of_source,
)

TOPICS = ["q", "q", "q", "q.p3", "q.p3", "q.p3", "q.p6", "q.p6", "q.p6", "q.p9"]


@pytest.mark.parametrize(("priority", "source"), list(enumerate(TOPICS)))
def test_a_priority_leads_to_its_step_and_the_step_back_to_the_queue(
    priority: int, source: str
) -> None:
    assert source_of("q", priority) == source
    assert queue_of_source(source) == "q"
    assert step_of_source(source) == priority // 3 * 3


def test_the_sources_of_a_queue_begin_with_the_highest() -> None:
    assert sources_of("q") == ("q.p9", "q.p6", "q.p3", "q")
    assert sorted(["b", "a", "a.p3", "a.p9"], key=highest_first) == ["a.p9", "a.p3", "a", "b"]


@pytest.mark.parametrize("name", ["q.p4", "q.p12", "q.p", "p9", "q.dlq"])
def test_other_endings_are_part_of_the_name(name: str) -> None:
    assert (queue_of_source(name), step_of_source(name)) == (name, 0)


@pytest.mark.parametrize(
    ("given", "priority"),
    [(4, 4), (255, 9), (-3, 0), (None, 0), (True, 0), ("9", 0), (2.0, 0)],
)
def test_the_priority_of_anybodys_message_is_one(given: object, priority: int) -> None:
    assert clamped(given) == priority
