"""One synchronous commit with a definite answer for each partition.

A commit has no time limit of its own and blocks through an outage. What got no answer is repeated as it is, without a poll in
between; a yes that comes then proves as much as the first would have, because a member that lost its place is refused.

A topic that the broker does not know may be one that it does not know yet: that answer is repeated for a while, and then believed.

A refusal does not prove the opposite: a try before it, ours or one of librdkafka's own, may have been taken before its answer got
lost and the member its place. So each commit has a stamp, and after a refusal the group is asked whose commit it has.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from .codes import TOPIC_ABSENT
from .errors import COMMIT_REFUSED, COMMIT_REPEAT, ClaimGivenUp
from .lane import Forgotten
from .offsets import State

logger = logging.getLogger(__name__)

REPEAT_WAIT = 0.1
"""Seconds between two tries of a commit, or of a question, that got no answer."""

TOPIC_PATIENCE = 10.0
"""Seconds for which a topic may be unknown to the coordinator: just made, or the broker just started. Then it was deleted."""

STAMP_BYTES = 6
"""Of the random part of a stamp; it stands in every commit, and has to differ from those of the group's other members only."""


def new_stamps() -> Iterator[str]:
    """Yield names for the commits of one consumer, none of which any other consumer uses."""
    writer = secrets.token_urlsafe(STAMP_BYTES)
    return (f"{writer}.{number:x}" for number in count())


@dataclass(slots=True)
class Answer:
    """How a commit ended, by partition."""

    accepted: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    """We are not who may commit (any more), and what the broker called it; certainly, or it cannot be told, not taken."""

    failed: dict[int, str] = field(default_factory=dict)
    """The broker was asked and did not take this commit, and why: no rights, metadata too large, the topic deleted. It may take it
    when somebody has acted."""


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """What to commit, and how long to go on asking."""

    send: Callable[[Sequence[TopicPartition]], Sequence[TopicPartition]]
    """Commits, and returns each place with its error or None (`CommitLane.commit`)."""

    topic: str
    states: Mapping[int, State]
    give_up: Callable[[], bool]
    """Asked after each try without an answer."""

    look: Callable[[Sequence[int]], Mapping[int, State] | None]
    """Returns what the group has stored for partitions, without those of an unknown format; None if there was no answer."""

    tags: Iterable[int] = ()
    """Delivery tags that a given-up claim names."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


def commit(request: CommitRequest) -> Answer:
    """Commit states and wait until each partition has its answer. Never polls.

    Raises:
        ClaimGivenUp: `give_up()` was true while an answer was missing.
    """
    answer = Answer()
    missing = dict(request.states)
    absent_since: float | None = None
    while missing:
        unanswered = _try_once(request, missing, answer)
        absent = {part: error for part, error in unanswered.items() if error.code() in TOPIC_ABSENT}
        if not absent:
            absent_since = None
        elif absent_since is None:
            absent_since = request.now()
        elif request.now() - absent_since >= TOPIC_PATIENCE:
            _fail(missing, answer, absent)
        if missing:
            _wait_to_repeat(request, unanswered[next(iter(missing))])
    if answer.refused:
        _look_for_proof(request, answer)
    return answer


def _try_once(
    request: CommitRequest, missing: dict[int, State], answer: Answer
) -> dict[int, KafkaError]:
    """Ask once; take what was answered out of `missing`. Returns the errors of what is to be asked again."""
    try:
        results = request.send(
            [
                TopicPartition(request.topic, partition, state.offset, state.metadata())
                for partition, state in missing.items()
            ]
        )
    except Forgotten:
        answer.refused.update(dict.fromkeys(missing, "no answer, and the member is forgotten"))
        missing.clear()
        return {}
    except KafkaException as exception:
        return _enter_failure(request, missing, answer, exception.args[0])
    unanswered: dict[int, KafkaError] = {}
    for result in results:
        error = result.error
        if error is not None and _is_to_be_repeated(error):
            unanswered[result.partition] = error
            continue
        del missing[result.partition]
        if error is None:
            answer.accepted.add(result.partition)
        elif error.code() in COMMIT_REFUSED:
            answer.refused[result.partition] = error.name()
        else:
            answer.failed[result.partition] = _told(error)
    return unanswered


def _is_to_be_repeated(error: KafkaError) -> bool:
    return error.code() in COMMIT_REPEAT or error.code() in TOPIC_ABSENT


def _enter_failure(
    request: CommitRequest, missing: dict[int, State], answer: Answer, error: KafkaError
) -> dict[int, KafkaError]:
    """Decide about a commit that raised. An exception does not mean that nothing of it was taken."""
    if _is_to_be_repeated(error):
        return dict.fromkeys(missing, error)
    if error.code() in COMMIT_REFUSED:
        # Fencing refuses the request as a whole.
        answer.refused.update(dict.fromkeys(missing, error.name()))
        missing.clear()
        return {}
    if len(missing) == 1:
        _fail(missing, answer, dict.fromkeys(missing, error))
        return {}
    # One partition may have spoiled it for the caller while others were taken: ask for each alone.
    for partition in list(missing):
        alone = {partition: missing.pop(partition)}
        one = commit(replace(request, states=alone))
        answer.accepted |= one.accepted
        answer.refused |= one.refused
        answer.failed.update(one.failed)
    return {}


def _fail(missing: dict[int, State], answer: Answer, errors: Mapping[int, KafkaError]) -> None:
    """Give up on partitions that are missing."""
    for partition, error in errors.items():
        del missing[partition]
        answer.failed[partition] = _told(error)


def _told(error: KafkaError) -> str:
    return f"{error.str()} ({error.name()})"


def _look_for_proof(request: CommitRequest, answer: Answer) -> None:
    """Take what the group has of a refused commit nevertheless as accepted: it is ours to run, and heirs begin behind it."""
    while (stored := request.look(sorted(answer.refused))) is None:
        _pause(request)
    proven = {
        partition
        for partition in answer.refused
        if partition in stored and stored[partition].proves(request.states[partition].stamp)
    }
    answer.accepted |= proven
    reasons = {answer.refused[partition] for partition in answer.refused}
    for partition in proven:
        del answer.refused[partition]
    _say_refused(request, answer, proven, ", ".join(sorted(reasons)))


def _say_refused(request: CommitRequest, answer: Answer, proven: set[int], reasons: str) -> None:
    offsets = {partition: request.states[partition].offset for partition in answer.refused}
    if proven:
        logger.warning(
            "%s: a commit was refused (%s) after the broker had taken it and its answer got lost: partitions %s are claimed",
            request.topic,
            reasons,
            sorted(proven),
            extra={"event": "claim.proven", "topic": request.topic, "partitions": sorted(proven)},
        )
    if offsets:
        logger.info(
            "%s: a commit was refused (%s); its records will be fetched again, here or by another member",
            request.topic,
            reasons,
            extra={"event": "claim.refused", "topic": request.topic, "offsets": offsets},
        )


def _wait_to_repeat(request: CommitRequest, error: KafkaError) -> None:
    logger.debug(
        "%s: a commit got no answer (%s); repeating it",
        request.topic,
        error.name(),
        extra={"event": "claim.repeated", "topic": request.topic},
    )
    _pause(request)


def _pause(request: CommitRequest) -> None:
    """Wait a little before the next try.

    Raises:
        ClaimGivenUp: Whoever waits for the answer has given it up.
    """
    if request.give_up():
        raise ClaimGivenUp(request.tags)
    # Not a wait for an event: nothing here can tell that the coordinator is back, and polling is forbidden.
    request.sleep(REPEAT_WAIT)
