"""How partitions of a log become a host's own, and how it lets go of them, with a member that does what a test says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from taskq_kafka.backoff import Backoff
from taskq_kafka.errors import LogUnfit, RequestRefused, TopicUnauthorized
from taskq_kafka.lease import RELEASED, lease_of
from taskq_kafka.options import TransportOptions
from taskq_kafka.restingshards import RestingShards
from taskq_kafka.shardowner import ShardOwner
from taskq_kafka.shardset import ShardSet
from tests.support.waiting import moment

ME = "me-1"
FAR = 1_000.0
"""Seconds that no test lasts."""


def refusal(code: int = KafkaError.UNKNOWN_MEMBER_ID) -> KafkaException:
    return KafkaException(KafkaError(code))


class FakeMember:
    """A member to whom partitions are given, with the group's leases; notes what it is asked in `calls`."""

    def __init__(self, calls: list[tuple[str, object]]) -> None:
        self.calls = calls
        self.assigned: set[int] = set()
        self.written: dict[int, str | None] = {}
        self.open: list[int] = []
        self.is_answered = True
        self.was_asked = False
        """Whether somebody wanted to know if a broker answers, which blocks for a second if none does."""

        self.write_error: Callable[[Mapping[int, str]], Exception | None] = lambda leases: None
        self.close_error: Exception | None = None

    def leases(self, partitions: Iterable[int]) -> dict[int, str | None]:
        found = sorted(partitions)
        self.calls.append(("ask", found))
        return {number: self.written.get(number) for number in found}

    def write_leases(self, leases: Mapping[int, str]) -> None:
        if (error := self.write_error(leases)) is not None:
            raise error
        self.calls.append(("write", dict(leases)))
        self.written |= leases

    def open_transactions(self, partitions: Iterable[int]) -> list[int]:
        return [number for number in partitions if number in self.open]

    def begin(self, partitions: Iterable[int]) -> None:
        self.calls.append(("begin", list(partitions)))

    def end(self, partitions: Iterable[int]) -> None:
        self.calls.append(("end", list(partitions)))

    def answers(self) -> bool:
        self.was_asked = True
        return self.is_answered

    def close(self) -> None:
        self.calls.append(("close", None))
        if self.close_error is not None:
            raise self.close_error


class FakeTransactional:
    """A producer of which only the id is asked."""

    def __init__(self, number: int) -> None:
        self.id = f"me-{number}"


class FakeProducer:
    """Makes producers with ids that count up."""

    def __init__(self) -> None:
        self.present: FakeTransactional | None = None
        self.made = 0
        self.error: Exception | None = None

    def live(self) -> FakeTransactional:
        if self.error is not None:
            raise self.error
        if self.present is None:
            self.made += 1
            self.present = FakeTransactional(self.made)
        return self.present

    def drop(self) -> None:
        self.present = None


class FakeLoader:
    """Notes what is not wanted any more."""

    def __init__(self) -> None:
        self.forgotten: list[int] = []

    def forget(self, partitions: Iterable[int]) -> None:
        self.forgotten += partitions


class Shard:
    """Empty, and of no use."""

    def __len__(self) -> int:
        return 0


class FarBackoff(Backoff):
    """Whose waits no test sees the end of."""

    def __init__(self, first: float, longest: float) -> None:
        super().__init__(FAR, FAR, jitter=lambda: 0.0)
        self.was_reset = False

    def reset(self) -> None:
        self.was_reset = True


class Bench:
    """A host that was given the partitions 0 and 1."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.shards, self.resting = ShardSet(), RestingShards()
        self.producer, self.loader = FakeProducer(), FakeLoader()
        self.owner = ShardOwner(
            TransportOptions(),
            "log",
            "topic",
            lambda partition: cast(Any, Shard()),
            shards=self.shards,
            loader=cast(Any, self.loader),
            producer=cast(Any, self.producer),
            resting=self.resting,
            shut_out=lambda options, id: self.calls.append(("shut out", id)),
            make_backoff=self._make_backoff,
        )
        self.member = FakeMember(self.calls)
        self.member.assigned = {0, 1}
        self.owner.member = cast(Any, self.member)

    def _make_backoff(self, first: float, longest: float) -> Backoff:
        self.backoff = FarBackoff(first, longest)
        return self.backoff

    def open(self) -> list[tuple[str, object]]:
        """Open what is missing; return what that took."""
        self.calls.clear()
        self.owner.open_missing(cast(Any, self.member))
        return list(self.calls)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def opened() -> Bench:
    """A host with its partitions open."""
    bench = Bench()
    bench.open()
    bench.calls.clear()
    return bench


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    return [(getattr(each, "event", ""), each.levelno) for each in caplog.records]


# Taking


def test_a_partition_is_read_after_its_lease_was_written(bench: Bench) -> None:
    assert bench.open() == [
        ("ask", [0, 1]),
        ("write", {0: lease_of(ME), 1: lease_of(ME)}),
        ("begin", [0, 1]),
    ]
    assert bench.shards.partitions == (0, 1)


def test_what_is_open_is_not_opened_again(opened: Bench) -> None:
    opened.member.assigned.add(2)

    assert opened.open()[0] == ("ask", [2])
    assert opened.open() == []
    assert opened.shards.partitions == (0, 1, 2)


def test_an_owner_that_released_its_partition_is_not_shut_out(bench: Bench) -> None:
    bench.member.written = {0: RELEASED, 1: None}

    assert "shut out" not in dict(bench.open())


def test_a_former_owner_is_shut_out_by_who_has_shown_to_be_a_member_and_before_its_heir_writes(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.member.written = {0: lease_of("other"), 1: RELEASED}

    assert bench.open() == [
        ("ask", [0, 1]),
        ("write", {0: lease_of("other")}),
        ("shut out", "other"),
        ("write", {0: lease_of(ME), 1: lease_of(ME)}),
        ("begin", [0, 1]),
    ]
    assert events(caplog)[0] == ("shards.taken_over", logging.INFO)


def test_an_owner_of_two_partitions_is_shut_out_once_also_later(bench: Bench) -> None:
    bench.member.written = dict.fromkeys((0, 1, 2), lease_of("other"))
    first = bench.open()
    bench.member.assigned.add(2)

    again = bench.open()

    assert [call for call in first + again if call[0] == "shut out"] == [("shut out", "other")]
    assert bench.shards.partitions == (0, 1, 2)


def test_a_transaction_that_a_former_owner_left_open_is_a_warning(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.member.written = {0: lease_of("other")}
    bench.member.open = [0]

    bench.open()

    assert events(caplog) == [("shards.taken_over", logging.WARNING)]
    assert "held up all readers" in caplog.records[0].getMessage()


def test_who_was_thrown_out_shuts_nobody_out_and_waits_for_the_next_polls(bench: Bench) -> None:
    bench.member.written = {0: lease_of("heir")}
    bench.member.write_error = lambda leases: refusal()

    assert bench.open() == [("ask", [0, 1])]
    bench.member.write_error = lambda leases: None

    assert bench.shards.partitions == ()
    assert bench.open() == [], "it is too early for another try"


def test_the_own_lease_is_nobody_to_shut_out(opened: Bench) -> None:
    opened.owner.forget([0])

    assert opened.open() == [("ask", [0]), ("write", {0: lease_of(ME)}), ("begin", [0])]


def test_what_a_newer_version_owned_is_left_alone_and_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.member.written = {0: "3:something"}

    bench.open()
    again = bench.open()

    assert bench.shards.partitions == (1,)
    assert bench.member.written[0] == "3:something"
    assert again == []
    assert events(caplog) == [("shards.newer_format", logging.ERROR)]


@pytest.mark.parametrize("way", ["release", "lose", "leave"])
def test_what_was_left_to_a_newer_version_is_looked_at_again_when_it_comes_back(
    bench: Bench, way: str
) -> None:
    bench.member.written = dict.fromkeys((0, 1), "3:something")
    bench.open()
    if way == "leave":
        bench.owner.leave()
    else:
        getattr(bench.owner, way)([0, 1])
    bench.member.written = {}

    bench.open()

    assert bench.shards.partitions == (0, 1)


def test_nothing_is_written_where_all_is_a_newer_versions(bench: Bench) -> None:
    bench.member.written = dict.fromkeys((0, 1), "3:something")

    assert bench.open() == [("ask", [0, 1])]


def test_a_right_that_is_missing_from_the_start_makes_the_log_unfit(bench: Bench) -> None:
    bench.member.write_error = lambda leases: refusal(KafkaError.GROUP_AUTHORIZATION_FAILED)

    with pytest.raises(LogUnfit):
        bench.open()


def test_a_right_that_was_taken_away_is_one_failure_among_others(bench: Bench) -> None:
    bench.shards.was_ready = True
    bench.member.write_error = lambda leases: refusal(KafkaError.GROUP_AUTHORIZATION_FAILED)

    with pytest.raises(KafkaException):
        bench.open()


@pytest.mark.parametrize(("was_ready", "wanted"), [(False, LogUnfit), (True, TopicUnauthorized)])
def test_a_producer_that_is_forbidden_is_judged_in_the_same_way(
    bench: Bench, was_ready: bool, wanted: type[Exception]
) -> None:
    bench.shards.was_ready = was_ready
    bench.producer.error = TopicUnauthorized("topic", "no")

    with pytest.raises(wanted):
        bench.open()


def test_a_group_that_does_not_answer_is_no_refusal(bench: Bench) -> None:
    bench.member.write_error = lambda leases: refusal(KafkaError._TIMED_OUT)

    with pytest.raises(KafkaException):
        bench.open()


def test_a_shard_that_has_rested_is_opened_anew(opened: Bench) -> None:
    opened.resting.rest_for(1, 0.0, now=0.0)

    calls = opened.open()

    assert calls[:2] == [("end", [1]), ("ask", [1])]
    assert calls[-1] == ("begin", [1])
    assert opened.loader.forgotten == [1]
    assert opened.shards.partitions == (0, 1)


# A new producer


def test_a_new_producer_stands_in_the_leases_of_all_that_is_open(opened: Bench) -> None:
    opened.owner.renew()

    assert opened.calls == [("write", {0: lease_of("me-2"), 1: lease_of("me-2")})]
    assert opened.shards.partitions == (0, 1)


def test_a_new_producer_of_a_host_without_shards_is_told_to_nobody(bench: Bench) -> None:
    bench.owner.renew()

    assert bench.calls == []
    assert bench.producer.present is not None


# Letting go


def test_partitions_that_are_given_up_are_released_as_far_as_they_are_open(
    opened: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    opened.owner.release([1, 5])

    assert opened.calls == [("write", {1: RELEASED})]
    assert opened.shards.partitions == (0,)
    assert opened.loader.forgotten == [1]
    assert opened.producer.present is not None
    assert events(caplog) == [("shards.released", logging.INFO)]


def test_who_has_nothing_open_releases_nothing(
    opened: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    opened.owner.release([5])

    assert opened.calls == []
    assert events(caplog) == []


def test_a_release_that_is_refused_is_left_to_the_heir(
    opened: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    opened.member.write_error = lambda leases: refusal()

    opened.owner.release([1])

    assert opened.shards.partitions == (0,)
    assert events(caplog) == []


def test_who_has_lost_partitions_writes_no_lease_and_uses_its_producer_no_more(
    opened: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    opened.owner.lose([0, 1])

    assert opened.calls == []
    assert opened.shards.partitions == ()
    assert opened.producer.present is None
    assert events(caplog) == [("shards.lost", logging.WARNING)]


def test_who_has_lost_what_was_not_open_goes_on(
    opened: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    opened.owner.lose([5])

    assert opened.producer.present is not None
    assert events(caplog) == []


def test_a_stop_releases_all_and_leaves_the_group(opened: Bench) -> None:
    opened.owner.leave()

    assert opened.calls[0] == ("write", {0: RELEASED, 1: RELEASED})
    assert opened.calls[-1] == ("close", None)
    assert opened.owner.member is None
    assert opened.producer.present is None
    assert opened.shards.partitions == ()


def test_a_stop_without_a_broker_leaves_the_leases_to_its_heir(opened: Bench) -> None:
    opened.member.is_answered = False

    opened.owner.leave()

    assert "write" not in dict(opened.calls)
    assert opened.calls[-1] == ("close", None)
    assert opened.shards.partitions == ()


def test_a_stop_without_shards_does_not_wait_for_the_broker(bench: Bench) -> None:
    bench.owner.leave()

    assert not bench.member.was_asked
    assert bench.calls == [("end", []), ("close", None)]


def test_a_group_that_cannot_be_left_does_not_hold_up_a_stop(opened: Bench) -> None:
    opened.member.close_error = refusal(KafkaError._TIMED_OUT)

    opened.owner.leave()

    assert opened.owner.member is None


def test_who_has_no_member_has_nothing_to_leave(opened: Bench) -> None:
    opened.owner.member = None

    opened.owner.leave()

    assert opened.calls == []
    assert opened.producer.present is not None


def test_what_is_forgotten_is_read_no_more_and_opened_again(opened: Bench) -> None:
    opened.owner.forget([1, 5])

    assert opened.calls == [("end", [1])]
    assert opened.shards.partitions == (0,)
    assert opened.open()[-1] == ("begin", [1])


def test_a_shard_that_is_forgotten_rests_no_more(opened: Bench) -> None:
    opened.resting.rest_for(1, FAR, now=0.0)

    opened.owner.forget([1])

    assert 1 not in opened.resting


def test_after_a_failure_all_is_opened_anew_with_another_producer_and_not_at_once(
    opened: Bench,
) -> None:
    opened.owner.begin_anew(moment())

    assert opened.calls == [("end", [0, 1])]
    assert opened.shards.partitions == ()
    assert opened.open() == []

    opened.owner.begin_anew(moment() - 2 * FAR)  # its wait is over

    assert opened.open()[-1] == ("begin", [0, 1])
    assert opened.member.written == {0: lease_of("me-2"), 1: lease_of("me-2")}


def test_after_something_was_written_the_next_wait_is_short_again(opened: Bench) -> None:
    opened.owner.note_written()

    assert opened.backoff.was_reset


def test_a_group_that_refuses_the_new_producer_is_told_to_the_caller(opened: Bench) -> None:
    opened.member.write_error = lambda leases: refusal()

    with pytest.raises(KafkaException):
        opened.owner.renew()


def test_a_failure_of_the_client_itself_passes(bench: Bench) -> None:
    bench.producer.error = RequestRefused(0, "x", "y")

    with pytest.raises(RequestRefused):
        bench.open()
