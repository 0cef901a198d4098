"""Synchronous commits in a thread of their own, so that a client that never answers can be left behind.

A client of librdkafka (2.16.0) may stay cut off after an outage although the broker is back
(docs/decisions/0027-clients-that-stay-away.md). A synchronous commit that was under way then never returns, later ones fail after
some seconds, each time anew, and `Consumer.close()` may not return either. Nothing can interrupt these calls, and while one lasts
nobody else may call that Consumer, as all of its calls share one lock.

What such a commit comes to is known all the same: a group that no longer lists the member takes nothing from it any more, and its
client joins anew only when it is polled. So that is asked while a commit lasts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import Consumer, TopicPartition

PATIENCE: Final = 15.0
"""Seconds that a commit lasts before the group is asked, and between two such questions. A broker that is back is connected to
within two, and a member that did not find it is out of its group a session later."""


CLOSE_TIMEOUT: Final = 5.0
"""Seconds for a Consumer to close. While a broker answers it takes milliseconds, and in an outage no longer."""


class Forgotten(Exception):
    """The group no longer lists the member whose commit got no answer: what it has not taken until now, it never takes."""

    def __init__(self) -> None:
        super().__init__("a commit got no answer, and the group has forgotten this member")


@dataclass(slots=True)
class _Job:
    places: Sequence[TopicPartition]
    done: threading.Lock = field(default_factory=threading.Lock)
    answer: list[TopicPartition] = field(default_factory=list)
    error: BaseException | None = None


class CommitLane:
    """Of one Consumer; the Consumer's owner calls it. Its thread lives until `close`, or for as long as a call does not return."""

    def __init__(self, consumer: Consumer, is_forgotten: Callable[[], bool]) -> None:
        """Start nothing yet.

        Args:
            consumer: Commits.
            is_forgotten: Returns whether the group is certain not to list its member. Blocks for a few seconds at most.
        """
        self._consumer = consumer
        self._is_forgotten = is_forgotten
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_inside = False
        self._is_left = False
        self._asked_at: float | None = None
        """When the group was asked last, or the first try was made that got no answer; None after an answer."""

    @contextmanager
    def inside_of_a_call(self) -> Iterator[None]:
        """Mark that the owner is in a callback of the Consumer, whose lock it has: its commits are not handed over meanwhile."""
        self._is_inside = True
        try:
            yield
        finally:
            self._is_inside = False

    def commit(self, places: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Commit, and return each place with its error or None. Blocks through an outage.

        Raises:
            KafkaException: The commit failed as a whole, or got no answer.
            Forgotten: It got none, and never will. The Consumer is left behind, and must not be called any more: the commit may
                have its lock for ever. Its thread and its memory are gone then.
        """
        if self._is_inside:
            return self._commit(places)
        if self._is_left:
            raise Forgotten
        begun_at = monotonic()
        job = _Job(places)
        job.done.acquire()
        self._start()
        self._jobs.put(job)
        while not job.done.acquire(timeout=PATIENCE):
            self._give_up_if_forgotten()
        if job.error is not None:
            self._note_failure(job.error, begun_at)
            raise job.error
        self._asked_at = None
        return job.answer

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close the Consumer, and end. One that does not close in time is left to the thread: its end may wait for ever, too."""
        self._is_left = True
        self._start()
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(timeout)

    def leave_behind(self) -> None:
        """Have the Consumer closed if what it is at should ever return. Nobody else may close it."""
        self.close(timeout=0)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="taskq-commits", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.answer = self._commit(job.places)
            except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
                job.error = error
            job.done.release()
        with suppress(KafkaException, RuntimeError):  # RuntimeError: closed before
            self._consumer.close()

    def _note_failure(self, error: BaseException, begun_at: float) -> None:
        """Ask the group, too, where many tries end without an answer and none of them lasts.

        Raises:
            Forgotten: As `commit`.
        """
        if not isinstance(error, KafkaException) or error.args[0].code() >= 0:
            self._asked_at = None  # a broker's answer
        elif self._asked_at is None:
            self._asked_at = begun_at
        elif monotonic() - self._asked_at >= PATIENCE:
            self._asked_at = monotonic()
            self._give_up_if_forgotten()

    def _give_up_if_forgotten(self) -> None:
        if self._is_forgotten():
            self.leave_behind()
            raise Forgotten

    def _commit(self, places: Sequence[TopicPartition]) -> list[TopicPartition]:
        return self._consumer.commit(offsets=list(places), asynchronous=False) or []
