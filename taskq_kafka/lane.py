"""Synchronous commits in a thread of their own, so that a client that never answers can be left behind.

`Consumer.commit(asynchronous=False)` has no time limit, and a client of librdkafka (2.16.0) may stay cut off after an outage
although the broker is back (docs/decisions/0027-clients-that-stay-away.md): the call then never returns, and nothing can interrupt
it. Until it returns nobody else may call that Consumer either, as all of its calls share one lock.

What such a commit comes to is known all the same: a group that no longer lists the member takes nothing from it any more, and its
client joins anew only when it is polled. So that is asked while a commit lasts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from confluent_kafka import Consumer, TopicPartition

PATIENCE: Final = 15.0
"""Seconds that a commit lasts before the group is asked, and between two such questions. A broker that is back is connected to
within two, and a member that did not find it is out of its group a session later."""


class Forgotten(Exception):
    """The group no longer lists the member whose commit got no answer: what it has not taken until now, it never takes."""


@dataclass(slots=True)
class _Job:
    places: Sequence[TopicPartition]
    done: threading.Lock = field(default_factory=threading.Lock)
    answer: list[TopicPartition] = field(default_factory=list)
    error: BaseException | None = None


class CommitLane:
    """Of one Consumer; the Consumer's owner calls it. Its thread lives until `end`, or for as long as a commit does not return."""

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
        self._last: Callable[[], object] = lambda: None
        self._is_inside = False

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
            Forgotten: It got none, and no other one will be asked for: the Consumer must not be used any more.
        """
        if self._is_inside:
            return self._commit(places)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="taskq-commits", daemon=True)
            self._thread.start()
        job = _Job(places)
        job.done.acquire()
        self._jobs.put(job)
        while not job.done.acquire(timeout=PATIENCE):
            if self._is_forgotten():
                raise Forgotten
        if job.error is not None:
            raise job.error
        return job.answer

    def end(self, *, timeout: float = 1.0) -> None:
        """Have the thread end when it has nothing left to do; wait for it for a moment."""
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(timeout)

    def leave_behind(self) -> None:
        """Have the thread close the Consumer and end, if what it is at should ever return. Nobody else may close it."""
        self._last = self._consumer.close
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.answer = self._commit(job.places)
            except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
                job.error = error
            job.done.release()
        self._last()

    def _commit(self, places: Sequence[TopicPartition]) -> list[TopicPartition]:
        return self._consumer.commit(offsets=list(places), asynchronous=False) or []
