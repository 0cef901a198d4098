"""One synchronous commit with a definite answer for each partition.

A commit has no time limit of its own and blocks through an outage. What got no answer is repeated as it is, without a poll in
between; a yes that comes then proves as much as the first would have, because a member that lost its place is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from .errors import COMMIT_REFUSED, COMMIT_REPEAT, ClaimGivenUp
from .offsets import State

logger = logging.getLogger(__name__)

REPEAT_WAIT = 0.1
"""Seconds between two tries of a commit that got no answer."""


@dataclass(slots=True)
class Answer:
    """How a commit ended, by partition."""

    accepted: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    """We are not who may commit (any more)."""

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
        unanswered = _try_once(request, missing, answer, repeated=unanswered is not None)
    return answer


def _try_once(
    request: CommitRequest, missing: dict[int, State], answer: Answer, *, repeated: bool
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
        return _enter_failure(request, missing, answer, exception.args[0], repeated=repeated)
    unanswered = None
    for result in results or ():
        error = result.error
        if error is not None and error.code() in COMMIT_REPEAT:
            unanswered = error
            continue
        state = missing.pop(result.partition)
        if error is None:
            answer.accepted.add(result.partition)
        elif error.code() in COMMIT_REFUSED:
            _enter_refused(request, {result.partition: state}, answer, error, repeated=repeated)
        else:
            answer.failed[result.partition] = f"{error.str()} ({error.name()})"
    return unanswered


def _enter_failure(
    request: CommitRequest,
    missing: dict[int, State],
    answer: Answer,
    error: KafkaError,
    *,
    repeated: bool,
) -> KafkaError | None:
    """Decide about a commit that raised. An exception does not mean that nothing of it was taken."""
    if error.code() in COMMIT_REPEAT:
        return error
    if error.code() in COMMIT_REFUSED:
        # Fencing refuses the request as a whole.
        _enter_refused(request, missing, answer, error, repeated=repeated)
        missing.clear()
        return None
    if len(missing) == 1:
        answer.failed[missing.popitem()[0]] = f"{error.str()} ({error.name()})"
        return None
    # One partition may have spoiled it for the caller while others were taken: ask for each alone.
    for partition in list(missing):
        alone = {partition: missing.pop(partition)}
        one = commit(
            CommitRequest(request.consumer, request.topic, alone, request.give_up, request.tags)
        )
        answer.accepted |= one.accepted
        answer.refused |= one.refused
        answer.failed.update(one.failed)
    return None


def _enter_refused(
    request: CommitRequest,
    states: Mapping[int, State],
    answer: Answer,
    error: KafkaError,
    *,
    repeated: bool,
) -> None:
    answer.refused.update(states)
    offsets = {partition: state.offset for partition, state in states.items()}
    if repeated:
        logger.warning(
            "%s: a commit got no answer, and was refused when repeated (%s); what the broker took of it will not run: below %s",
            request.topic,
            error.name(),
            offsets,
            extra={"event": "claim.lost", "topic": request.topic, "offsets": offsets},
        )
    else:
        logger.info(
            "%s: a commit was refused (%s); its records will be fetched again, here or by another member",
            request.topic,
            error.name(),
            extra={"event": "claim.refused", "topic": request.topic, "offsets": offsets},
        )


def _wait_to_repeat(request: CommitRequest, error: KafkaError) -> None:
    if request.give_up():
        raise ClaimGivenUp(request.tags)
    logger.debug(
        "%s: a commit got no answer (%s); repeating it",
        request.topic,
        error.name(),
        extra={"event": "claim.repeated", "topic": request.topic},
    )
    # Not a wait for an event: nothing here can tell that the coordinator is back, and polling is forbidden.
    time.sleep(REPEAT_WAIT)
