from __future__ import annotations

from taskq_kafka.backoff import Backoff
from taskq_kafka.restingshards import FIRST_REST, LONGEST_REST, RestingShards


def unshortened(first: float, longest: float) -> Backoff:
    return Backoff(first, longest, jitter=lambda: 0.0)


def make() -> RestingShards:
    return RestingShards(make_backoff=unshortened)


def test_a_shard_has_rested_when_its_time_is_over_and_once() -> None:
    resting = make()
    resting.rest_for(3, 10.0, now=100.0)
    resting.rest_for(4, 20.0, now=100.0)

    looks = [resting.take_rested(now) for now in (109.9, 110.0, 110.0)]

    assert looks == [[], [3], []]
    assert 3 not in resting
    assert 4 in resting


def test_each_rest_is_longer_than_the_one_before() -> None:
    resting = make()

    waits = [resting.rest(partition, 0.0) for partition in range(8)]

    assert waits[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    assert waits[-1] == LONGEST_REST


def test_a_shard_that_rests_does_not_rest_longer_for_another_firing() -> None:
    resting = make()
    resting.rest(3, 0.0)

    resting.rest(3, 0.0)

    assert resting.take_rested(FIRST_REST) == [3]


def test_a_rest_is_short_again_after_a_write_only_where_no_shard_rests() -> None:
    resting = make()
    resting.rest(3, 0.0)
    resting.note_written()
    second = resting.rest(4, 0.0)
    resting.forget([3, 4])

    resting.note_written()

    assert second == 2 * FIRST_REST
    assert resting.rest(3, 0.0) == FIRST_REST


def test_what_is_forgotten_does_not_rest() -> None:
    resting = make()
    resting.rest(3, 0.0)

    resting.forget([3, 4])

    assert 3 not in resting
    assert resting.take_rested(1e9) == []
