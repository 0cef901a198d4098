"""Writing what runs leave behind: dead letters and retries of failed tasks, and messages that follow a run. A thread of its own.

So neither the thread that reads results nor an intake waits for the broker. What was claimed before its run is held here until it
is written, and lost (and named) only if the process must end before. Of what settles late it is told when all is written that
follows from it: until then its record is not settled, and it runs again if the process ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from taskq.clock import Clock
from taskq.protocols import DeadLetter, Outgoing, Publisher
from taskq.timing.shards import Write

logger = logging.getLogger(__name__)

_WRITE_SECONDS = 30.0
"""For one write. Long, because a follow-up whose fate is unknown afterwards is not repeated."""

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 10.0

LIMIT = 2000
"""Entries held at which intakes stop taking: a broker that refuses dead letters must not fill the memory."""

_BATCH = 500


@dataclass(slots=True)
class Bundle:
    """All that must be written before a record is settled that was not settled before its run."""

    left: int
    """How many entries are not written yet."""

    then: Callable[[], None]
    """Called when none is left."""

    def written(self) -> None:
        """Take note that one more is written."""
        self.left -= 1
        if not self.left:
            self.then()


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to be written, and how the log names it."""

    what: DeadLetter | Outgoing | Write
    name: str
    instead: Callable[[str], Entry] | None = None
    """Of a follow-up or retry: makes the dead letter, from a reason, that is written if it can never be sent."""

    in_doubt: Callable[[str], Entry] | None = None
    """Of a retry: makes the dead letter that is written if it is unknown whether it was. It is not written again, because no task
    may run twice, and it is not left out, because none may be lost: a person decides."""

    fields: Mapping[str, object] = field(default_factory=dict)
    """What log records about it carry: its task."""

    bundle: Bundle | None = None
    """Of a task that settles late: it is written again where it is unknown whether it was, because nothing of it may be lost."""


class LogWriter(Protocol):
    """What of a `taskq.timing.shards.Logs` is needed here."""

    def append(self, writes: Sequence[Write], *, timeout: float) -> Sequence[Exception | None]:
        """Write records, and return for each None or the error."""


class Outbox:
    """Any thread may put; the outbox's own thread writes."""

    def __init__(
        self, publisher: Callable[[], Publisher], logs: Callable[[], LogWriter], clock: Clock
    ) -> None:
        """Prepare; `start` starts the thread.

        Args:
            publisher: Returns the process's publisher; called in the outbox's thread.
            logs: Returns the broker's logs, where retries wait; called in the outbox's thread.
            clock: For backoff.
        """
        self._publisher = publisher
        self._logs = logs
        self._clock = clock
        self._entries: list[Entry] = []
        self._change = threading.Condition()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taskq-outbox", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, entries: Sequence[Entry], then: Callable[[], None] | None = None) -> None:
        """Have entries written, as soon as possible. Order is not kept where a write fails.

        Args:
            entries: At least one.
            then: Called in the outbox's thread when the broker has acknowledged all of them; must not raise.
        """
        if then is not None:
            bundle = Bundle(len(entries), then)
            entries = [replace(entry, bundle=bundle) for entry in entries]
        with self._change:
            self._entries.extend(entries)
            self._change.notify()

    def held(self) -> list[Entry]:
        """Return what is not written yet."""
        with self._change:
            return list(self._entries)

    @property
    def count(self) -> int:
        """How much is not written yet."""
        return len(self._entries)

    @property
    def is_empty(self) -> bool:
        """Whether all is written."""
        return not self._entries

    @property
    def is_full(self) -> bool:
        """Whether so much is held that no more tasks should be taken."""
        return len(self._entries) >= LIMIT

    def close(self) -> None:
        """Let the thread end; what is held stays unwritten."""
        self._ending.set()
        with self._change:
            self._change.notify()

    def _run(self) -> None:
        backoff = _FIRST_BACKOFF
        while not self._ending.is_set():
            with self._change:
                self._change.wait_for(lambda: self._entries or self._ending.is_set())
                batch = self._entries[:_BATCH]
            if not batch:
                continue
            why = self._write(batch)
            if why is None:
                backoff = _FIRST_BACKOFF
                continue
            logger.error(
                "%d dead letters, retries or follow-ups cannot be written (%s); they are held and tried again in %.1f s",
                len(self._entries),
                why,
                backoff,
                extra={"event": "outbox.failed", "held": len(self._entries)},
            )
            self._clock.wait(self._ending, backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)

    def _write(self, batch: Sequence[Entry]) -> str | None:
        """Write a batch; keep what failed; return why one failed."""
        errors: list[Exception | None]
        try:
            errors = self._write_all(batch)
        except Exception as failure:  # noqa: BLE001 - the loop's door
            # Whatever the publisher raises, what is held stays held.
            errors = [failure] * len(batch)
        keep: list[Entry] = []
        why: str | None = None
        for entry, error in zip(batch, errors, strict=True):
            if error is None:
                if entry.bundle is not None:
                    entry.bundle.written()
                continue
            is_unknown = (
                not isinstance(entry.what, DeadLetter) and getattr(error, "sent", None) is not False
            )
            if is_unknown and entry.bundle is None:
                logger.error(
                    "%s may or may not have been sent (%s); it is not sent again, because no task may run twice%s",
                    entry.name,
                    error,
                    "" if entry.in_doubt is None else "; the task goes to the dead letters",
                    extra={"event": "outbox.unknown", **entry.fields},
                )
                if entry.in_doubt is not None:
                    keep.append(entry.in_doubt(str(error)))
                continue
            if not is_unknown and entry.instead is not None and not _is_passing(error):
                logger.error(
                    "%s cannot be sent (%s); the task that asked for it goes to the dead letters",
                    entry.name,
                    error,
                    extra={"event": "outbox.refused", **entry.fields},
                )
                keep.append(replace(entry.instead(str(error)), bundle=entry.bundle))
                continue
            keep.append(entry)
            why = str(error)
        with self._change:
            self._entries[: len(batch)] = keep
        return why

    def _write_all(self, batch: Sequence[Entry]) -> list[Exception | None]:
        publisher = self._publisher()
        letters = [entry.what for entry in batch if isinstance(entry.what, DeadLetter)]
        messages = [entry.what for entry in batch if isinstance(entry.what, Outgoing)]
        writes = [entry.what for entry in batch if isinstance(entry.what, Write)]
        told: dict[type, Iterator[Exception | None]] = {
            DeadLetter: iter(
                publisher.dead_letters(letters, timeout=_WRITE_SECONDS) if letters else ()
            ),
            Outgoing: iter(publisher.publish(messages, timeout=_WRITE_SECONDS) if messages else ()),
            Write: iter(self._append(writes) if writes else ()),
        }
        return [next(told[type(entry.what)]) for entry in batch]

    def _append(self, writes: Sequence[Write]) -> Sequence[Exception | None]:
        """Write to the logs; what is raised here must not make the other writes of a batch count as unwritten."""
        try:
            return self._logs().append(writes, timeout=_WRITE_SECONDS)
        except Exception as failure:  # noqa: BLE001 - the loop's door, as in _write
            return [failure] * len(writes)


def _is_passing(error: Exception) -> bool:
    """Return whether the same write may succeed later: the broker is away, or the error says so itself."""
    return isinstance(error, ConnectionError) or getattr(error, "retriable", False) is True
