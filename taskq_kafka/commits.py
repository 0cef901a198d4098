"""One synchronous commit with a definite answer for each partition.

A commit has no time limit of its own and blocks through an outage. What got no answer is repeated as it is, without a poll in
between; a yes that comes then proves as much as the first would have, because a member that lost its place is refused.

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

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from .errors import COMMIT_REFUSED, COMMIT_REPEAT, ClaimGivenUp
from .offsets import State

logger = logging.getLogger(__name__)

REPEAT_WAIT = 0.1
"""Seconds between two tries of a commit, or of a question, that got no answer."""

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
    """The broker will never take this commit, and why: no rights, metadata too large."""


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """What to commit, and how long to go on asking."""

    consumer: Consumer
    topic: str
    states: Mapping[int, State]
    give_up: Callable[[], bool]
    """Asked after each try without an answer."""

    look: Callable[[Sequence[int]], Mapping[int, State] | None]
    """Returns what the group has stored for partitions, without those of an unknown format; None if there was no answer."""

    tags: Iterable[int] = ()
    """Delivery tags that a given-up claim names."""


def commit(request: CommitRequest) -> Answer:
    """Commit states and wait until each partition has its answer. Never polls.

    Raises:
        ClaimGivenUp: `give_up()` was true while an answer was missing.
    """
    answer = Answer()
    missing = dict(request.states)
    unanswered: KafkaError | None = None
    while missing:
        if unanswered is not None:
            _wait_to_repeat(request, unanswered)
        unanswered = _try_once(request, missing, answer)
    if answer.refused:
        _look_for_proof(request, answer)
    return answer


def _try_once(
    request: CommitRequest, missing: dict[int, State], answer: Answer
) -> KafkaError | None:
    """Ask once; take what was answered out of `missing`. Returns the error if an answer is still to come."""
    try:
        results = request.consumer.commit(
            offsets=[
                TopicPartition(request.topic, partition, state.offset, state.metadata())
                for partition, state in missing.items()
            ],
            asynchronous=False,
        )
    except KafkaException as exception:
        return _enter_failure(request, missing, answer, exception.args[0])
    unanswered = None
    for result in results or ():
        error = result.error
        if error is not None and error.code() in COMMIT_REPEAT:
            unanswered = error
            continue
        del missing[result.partition]
        if error is None:
            answer.accepted.add(result.partition)
        elif error.code() in COMMIT_REFUSED:
            answer.refused[result.partition] = error.name()
        else:
            answer.failed[result.partition] = f"{error.str()} ({error.name()})"
    return unanswered


def _enter_failure(
    request: CommitRequest, missing: dict[int, State], answer: Answer, error: KafkaError
) -> KafkaError | None:
    """Decide about a commit that raised. An exception does not mean that nothing of it was taken."""
    if error.code() in COMMIT_REPEAT:
        return error
    if error.code() in COMMIT_REFUSED:
        # Fencing refuses the request as a whole.
        answer.refused.update(dict.fromkeys(missing, error.name()))
        missing.clear()
        return None
    if len(missing) == 1:
        answer.failed[missing.popitem()[0]] = f"{error.str()} ({error.name()})"
        return None
    # One partition may have spoiled it for the caller while others were taken: ask for each alone.
    for partition in list(missing):
        alone = {partition: missing.pop(partition)}
        one = commit(replace(request, states=alone))
        answer.accepted |= one.accepted
        answer.refused |= one.refused
        answer.failed.update(one.failed)
    return None


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
    time.sleep(REPEAT_WAIT)
