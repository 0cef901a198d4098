"""What becomes of firings that are due: written together, parted when one is refused, put aside, or left for later."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import pytest

from taskq.protocols import Outgoing
from taskq.timing.shards import Firing, TimerLetter
from taskq_kafka.errors import RequestRefused, TaskqKafkaError, TopicMissing, TopicUnauthorized
from taskq_kafka.options import TransportOptions
from taskq_kafka.restingshards import RestingShards
from taskq_kafka.shardfiring import MOST_BYTES, ShardFiring
from taskq_kafka.shardset import Due, OpenShard
from taskq_kafka.transactions import Broken, Line, Refused
from tests.support.waiting import moment

NO = RequestRefused(87, "INVALID_RECORD", "no")
UNMADE_SECONDS = 60.0


class FakeShard:
    """Knows what was settled, and gives up what it is asked to."""

    def __init__(self) -> None:
        self.settled: list[str] = []
        self.given_up: list[tuple[str, str, str]] = []

    def settle(self, firings: Sequence[Firing]) -> None:
        self.settled += [each.name for each in firings]

    def give_up(self, firing: Firing, reason: str, error: str) -> Firing:
        self.given_up.append((firing.name, reason, error))
        name = f"letter of {firing.name}"
        return Firing(name, letters=[TimerLetter(b"key", name.encode(), [])])


class FakeProducer:
    """A transactional producer that refuses what a test says; the host's, too."""

    def __init__(self) -> None:
        self.present: FakeProducer | None = self
        self.known: set[str] = {"pre.q", "pre.other", "letters", "log-topic"}
        self.there: set[str] = set()
        """Topics that are found when they are looked up."""

        self.written: list[list[Line]] = []
        self.tried: list[int] = []
        self.fails: Callable[[Sequence[Line]], Exception | None] = lambda lines: None

    def knows(self, topic: str) -> bool:
        return topic in self.known

    def look_up(self, topic: str, *, timeout: float) -> bool:
        return topic in self.there

    def partitions(self, topic: str) -> int | None:
        return 1 if self.knows(topic) else None

    def write(self, lines: Iterable[Line]) -> None:
        found = list(lines)
        self.tried.append(len(found))
        if (error := self.fails(found)) is not None:
            raise error
        self.written.append(found)


class FakeOwner:
    """Counts the producers that were made the shards' own."""

    def __init__(self) -> None:
        self.renewed = 0
        self.noted = 0

    def renew(self) -> None:
        self.renewed += 1

    def note_written(self) -> None:
        self.noted += 1


class FakeTopics:
    """All can be written to but what a test says."""

    letters = "letters"

    def __init__(self) -> None:
        self.refuses: dict[str, TaskqKafkaError] = {}
        self.named: TaskqKafkaError | None = None

    def refusal(self, firing: Firing) -> TaskqKafkaError | None:
        queues = [message.queue for message in firing.messages] or ["letters"]
        return next((self.refuses[each] for each in queues if each in self.refuses), None)

    def note_rights(self, firing: Firing, error: TaskqKafkaError) -> TaskqKafkaError:
        if self.named is not None:
            self.refuses |= {message.queue: self.named for message in firing.messages}
        return self.named or error


class Bench:
    """A host with two shards, of the partitions 0 and 1."""

    def __init__(self) -> None:
        self.producer, self.owner, self.topics = FakeProducer(), FakeOwner(), FakeTopics()
        self.resting = RestingShards()
        self.shards = [FakeShard(), FakeShard()]
        self.open = [
            OpenShard(number, cast(Any, shard)) for number, shard in enumerate(self.shards)
        ]
        self.firing = ShardFiring(
            TransportOptions(prefix="pre."),
            "log",
            "log-topic",
            owner=cast(Any, self.owner),
            producer=cast(Any, self.producer),
            resting=self.resting,
            topics=cast(Any, self.topics),
            unmade_seconds=UNMADE_SECONDS,
        )

    def due(self, *names: str, queue: str = "q", size: int = 0, partition: int = 0) -> list[Due]:
        """Return firings of one message each, whose value begins with the name."""
        return [
            Due(
                self.open[partition],
                Firing(name, [Outgoing(queue, name.encode().ljust(size, b" "), [])]),
            )
            for name in names
        ]

    def refuse(self, *names: str, suspects: bool = True) -> None:
        """Have the broker refuse transactions with records whose values are so."""
        values = {name.encode() for name in names}

        def fails(lines: Sequence[Line]) -> Exception | None:
            bad = [place for place, line in enumerate(lines) if line[3] in values]
            return Refused(NO, frozenset(bad if suspects else ())) if bad else None

        self.producer.fails = fails

    @property
    def values(self) -> list[list[str]]:
        """What stands in each transaction that was committed."""
        return [
            [(line[3] or b"").decode().strip() for line in each] for each in self.producer.written
        ]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(each, "event", "") for each in caplog.records if each.levelno > logging.INFO]


def test_all_that_is_due_goes_in_one_transaction_and_each_shard_is_told_of_its_own(
    bench: Bench,
) -> None:
    bench.firing.fire([*bench.due("a", "b"), *bench.due("c", partition=1)])

    assert bench.values == [["a", "b", "c"]]
    assert [shard.settled for shard in bench.shards] == [["a", "b"], ["c"]]
    assert bench.owner.noted == 1


def test_nothing_due_is_no_transaction(bench: Bench) -> None:
    bench.firing.fire([])

    assert bench.producer.tried == []


def test_messages_writes_and_letters_go_to_their_topics(bench: Bench) -> None:
    firing = Firing(
        "it",
        [Outgoing("q", b"message", [("h", b"1")], key=b"k")],
        writes=[(b"timer", None)],
        letters=[TimerLetter(b"place", b"letter", [("r", b"2")])],
    )

    bench.firing.fire([Due(bench.open[1], firing)])

    assert bench.producer.written == [
        [
            ("pre.q", -1, b"k", b"message", [("h", b"1")]),
            ("log-topic", 1, b"timer", None, []),
            ("letters", -1, b"place", b"letter", [("r", b"2")]),
        ]
    ]


def test_what_is_too_much_for_one_transaction_goes_in_several(bench: Bench) -> None:
    bench.firing.fire(bench.due("a", "b", "c", size=MOST_BYTES // 2 - 500))

    assert bench.values == [["a", "b"], ["c"]]
    assert bench.shards[0].settled == ["a", "b", "c"]


def test_after_a_transaction_whose_end_is_unknown_half_as_much_goes_in_the_next(
    bench: Bench,
) -> None:
    bench.producer.known |= {f"pre.{queue}" for queue in range(20)}
    due = [each for queue in range(20) for each in bench.due("x", queue=str(queue), size=190_000)]
    bench.producer.fails = lambda lines: Broken(NO)
    for _ in range(2):
        with pytest.raises(Broken):
            bench.firing.fire(due)

    bench.producer.fails = lambda lines: None
    bench.firing.fire(due)
    bench.firing.fire(due)

    assert bench.producer.tried == [20, 10, 5, 5, 5, 5, 20]


def test_a_transaction_whose_end_is_unknown_settles_nothing(bench: Bench) -> None:
    bench.producer.fails = lambda lines: Broken(NO)

    with pytest.raises(Broken):
        bench.firing.fire(bench.due("a"))

    assert bench.shards[0].settled == []
    assert bench.owner.noted == 0


def test_who_lost_the_producer_inside_a_poll_writes_nothing(bench: Bench) -> None:
    bench.producer.present = None

    with pytest.raises(Broken):
        bench.firing.fire(bench.due("a"))

    assert bench.producer.tried == []
    assert bench.shards[0].settled == []


def test_a_suspect_is_put_aside_and_the_others_are_written(bench: Bench) -> None:
    bench.refuse("bad")

    bench.firing.fire(bench.due("a", "bad", "b"))

    assert bench.values == [["a", "b"], ["letter of bad"]]
    assert bench.producer.written[1][0][0] == "letters"
    assert bench.shards[0].settled == ["a", "b", "letter of bad"]
    assert bench.shards[0].given_up == [("bad", "refused", str(NO))]
    assert 0 not in bench.resting


def test_a_suspect_is_found_behind_firings_of_several_records(bench: Bench) -> None:
    bench.refuse("bad")
    first = Due(bench.open[0], Firing("two", [Outgoing("q", b"x", []), Outgoing("q", b"y", [])]))

    bench.firing.fire([first, *bench.due("bad", "a")])

    assert bench.values == [["x", "y", "a"], ["letter of bad"]]
    assert bench.producer.tried == [4, 3, 1, 1]


def test_without_a_suspect_halves_are_tried_until_it_stands_alone(bench: Bench) -> None:
    bench.refuse("bad", suspects=False)

    bench.firing.fire(bench.due("a", "b", "bad", "c"))

    assert bench.producer.tried == [4, 2, 2, 1, 1, 1]
    assert bench.values == [["a", "b"], ["letter of bad"], ["c"]]
    assert sorted(bench.shards[0].settled) == ["a", "b", "c", "letter of bad"]


def test_each_refusal_is_followed_by_another_producer(bench: Bench) -> None:
    bench.refuse("bad")

    bench.firing.fire(bench.due("a", "bad"))

    assert bench.owner.renewed == 2, "after the refusal of both, and of the suspect alone"


def test_the_letter_names_the_queue_that_may_not_be_written_to(bench: Bench) -> None:
    bench.refuse("bad")
    bench.topics.named = TopicUnauthorized("pre.q", "no rights")

    bench.firing.fire(bench.due("bad"))

    assert bench.shards[0].given_up == [("bad", "refused", str(bench.topics.named))]


def test_others_to_a_queue_that_may_not_be_written_to_are_put_aside_untried(bench: Bench) -> None:
    bench.refuse("bad", "worse")
    bench.topics.named = TopicUnauthorized("pre.q", "no rights")

    bench.firing.fire(bench.due("bad", "worse"))

    assert bench.values == [["letter of bad"], ["letter of worse"]]
    assert bench.producer.tried == [2, 1, 1, 1], "both, the first alone, and two letters"


def test_what_goes_to_a_topic_that_is_not_there_is_put_aside_untried(bench: Bench) -> None:
    error = bench.topics.refuses["gone"] = TopicMissing("pre.gone")

    bench.firing.fire([*bench.due("a", queue="gone"), *bench.due("b")])

    assert bench.values == [["letter of a"], ["b"]]
    assert bench.shards[0].given_up == [("a", "refused", str(error))]
    assert bench.owner.renewed == 0


def test_what_goes_to_a_queue_that_cannot_be_made_now_waits_and_is_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.topics.refuses["unmade"] = NO

    bench.firing.fire([*bench.due("a", "b", queue="unmade"), *bench.due("c")])

    assert bench.values == [["c"]]
    assert bench.shards[0].given_up == []
    assert 0 in bench.resting
    assert events(caplog) == ["shards.stuck"]
    assert "tried again in 60 s" in caplog.text


def test_a_shard_that_waits_for_a_queue_waits_as_long_as_its_topics_say(bench: Bench) -> None:
    bench.topics.refuses["unmade"] = NO
    before = moment()

    bench.firing.fire(bench.due("a", queue="unmade"))

    assert bench.resting.take_rested(before + UNMADE_SECONDS - 1) == []
    assert bench.resting.take_rested(moment() + UNMADE_SECONDS) == [0]


def test_a_letter_that_is_refused_too_leaves_its_firing_for_later(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.refuse("bad", "letter of bad")

    bench.firing.fire([*bench.due("bad"), *bench.due("a", partition=1)])

    assert bench.values == [["a"]]
    assert [shard.settled for shard in bench.shards] == [[], ["a"]]
    assert (0 in bench.resting, 1 in bench.resting) == (True, False)
    assert events(caplog) == ["shards.stuck"]
    assert bench.owner.renewed == 3, "after both, the suspect alone, and its letter"


def test_a_letter_for_which_there_is_no_topic_leaves_its_firing_for_later(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.refuse("bad")
    error = bench.topics.refuses["letters"] = TopicMissing("letters")

    bench.firing.fire([*bench.due("a", "bad"), *bench.due("b", partition=1)])

    assert bench.values == [["a", "b"]]
    assert [shard.settled for shard in bench.shards] == [["a"], ["b"]]
    assert (0 in bench.resting, 1 in bench.resting) == (True, False)
    assert events(caplog) == ["shards.stuck"]
    assert str(error) in caplog.text


def test_a_topic_that_has_gone_since_it_was_seen_breaks_the_transaction_before_it_begins(
    bench: Bench,
) -> None:
    bench.producer.known.discard("pre.q")

    with pytest.raises(Broken):
        bench.firing.fire(bench.due("a"))

    assert bench.producer.tried == []


def test_a_topic_that_the_producer_has_to_look_up_is_written_to(bench: Bench) -> None:
    bench.producer.known.discard("pre.q")
    bench.producer.there.add("pre.q")

    bench.firing.fire(bench.due("a"))

    assert bench.values == [["a"]]


def test_a_rest_is_short_again_after_something_was_written(bench: Bench) -> None:
    waits = [bench.resting.rest(number, 0.0) for number in (5, 6, 7, 8)]
    bench.resting.forget([5, 6, 7, 8])

    bench.firing.fire(bench.due("a"))

    assert bench.resting.rest(5, 0.0) < waits[3]
