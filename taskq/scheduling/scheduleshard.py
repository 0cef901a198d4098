"""One shard of the log of schedules, for one namespace: definitions, pauses and states in, firings out.

A firing is the occurrences of one schedule that are due together with the state that follows: both are written or neither. Pure but
for its log lines. The log is in `taskq.scheduling.schedulelog`; what is due decides `taskq.scheduling.timetable`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from taskq.attempts import instant_text
from taskq.errors import EncodeError, InvalidQueueName
from taskq.instants import write_instant, write_seconds
from taskq.message import Format
from taskq.protocols import Outgoing
from taskq.scheduling.duemessages import message_of
from taskq.scheduling.occurrences import Decision, Definition, LeftOut, Occurrence
from taskq.scheduling.schedulelog import (
    LOG,
    MOST_FIRED,
    SENT_LATER,
    Key,
    NewerFormat,
    Part,
    definition_to_json,
    encode,
    fired_text,
    key_of,
    read_definition,
    read_key,
    read_pause,
    read_state,
    state_text,
)
from taskq.scheduling.timetable import Change, Timetable
from taskq.timing.shards import Firing, LogRecord, TimerLetter
from taskq.timing.timerletters import QUEUE, SOURCE_KEY

logger = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS = timedelta(milliseconds=1)

_SENT_LATER = SENT_LATER.encode()

_PREPARED = 8
"""Schedules that one call of `wanted` decides: half a millisecond, so that what is due meanwhile is not late by it."""


@dataclass(frozen=True, slots=True)
class _Built:
    """What a decision writes; made before its time, so that then there is little left to do."""

    change: Change
    messages: list[Outgoing]
    letters: list[TimerLetter]
    fired: tuple[str, ...]
    """The last occurrences with the decision's own, in which `SENT_LATER` stands for the time of the sending."""

    key: bytes
    """Of the state's record."""

    state: bytes
    """The state's JSON, with the same."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a firing stands for."""

    built: _Built
    at: datetime

    @property
    def decision(self) -> Decision:
        """What is carried out."""
        return self.built.change.decision


class ScheduleShard:
    """The schedules of one namespace that stand in one partition. A `taskq.timing.shards.Shard`.

    States count while the log is read for the first time. From the first question what is due they are our own: only the owner
    writes them.
    """

    def __init__(
        self,
        namespace: str,
        *,
        queue_of: Callable[[str], str],
        priority_of: Callable[[str], int] = lambda task: 0,
        format: Format,
        watching_since: Callable[[], datetime],
        host: str,
    ) -> None:
        """Take what is needed to write messages; the schedules come by `apply`.

        Args:
            namespace: Records of others are passed over.
            queue_of: Returns the queue of a task whose schedule names none.
            priority_of: Returns the priority of a task whose schedule names none.
            format: How arguments are written.
            watching_since: Returns since when this process has stood by without a break; see `taskq.scheduling.occurrences.decide`.
            host: Stands in dead letters.
        """
        self._namespace = namespace
        self._queue_of = queue_of
        self._priority_of = priority_of
        self._format = format
        self._watching_since = watching_since
        self._host = host
        self._timetable = Timetable()
        self._fired: dict[str, tuple[str, ...]] = {}
        """The last occurrences of each, as JSON."""

        self._texts: dict[str, tuple[Definition, str]] = {}
        """The definition in force of each, with its JSON."""

        self._stored: dict[str, set[Part]] = {}
        self._places: dict[str, str] = {}
        self._problems: dict[str, dict[Part, str]] = {}
        self._built: dict[str, _Built] = {}
        """What was built for decisions before their time."""

        self._unread: dict[str, LogRecord] = {}
        """The newest state of each while the log is read: of the thousands that may stand there only these are decoded."""

        self._doubtful: set[str] = set()
        self._offset = -1
        self._is_reading = True
        self._now = _EPOCH

    def apply(self, record: LogRecord) -> None:
        """Take the next record in the log's order."""
        if record.offset <= self._offset:
            return
        self._offset = record.offset
        key = read_key(record.key)
        if key is None or key.namespace != self._namespace or key.part is Part.MANIFEST:
            return
        stored = self._stored.setdefault(key.name, set())
        if record.value is None:
            stored.discard(key.part)
            self._solve(key)
            self._take_out(key)
            return
        stored.add(key.part)
        if key.part is not Part.STATE:
            self._read(key, record)
        elif self._is_reading:
            self._unread[key.name] = record

    def _read(self, key: Key, record: LogRecord) -> None:
        try:
            self._put(key, record, record.value or b"")
        except ValueError as error:
            self._complain(key, error)
        else:
            self._solve(key)

    def _read_states(self) -> None:
        """Decode the states, once the log was read to its end."""
        self._is_reading = False
        for name in list(self._unread):
            self._read_state(name)

    def _read_state(self, name: str) -> None:
        record = self._unread.pop(name, None)
        key = None if record is None else read_key(record.key)
        if record is not None and key is not None:
            self._read(key, record)

    def _put(self, key: Key, record: LogRecord, value: bytes) -> None:
        name = key.name
        if key.part is Part.DEFINITION:
            definition = read_definition(value)
            if definition.name != name:
                raise ValueError(f"it is the definition of {definition.name}")
            self._timetable.define(definition)
            self._places[name] = f"{LOG}/{record.partition}/{record.offset}"
            return
        if key.part is Part.PAUSE:
            self._timetable.set_pause(name, read_pause(value))
        else:
            stored = read_state(value, self._timetable.newest(name))
            self._timetable.restore(name, stored.state)
            self._fired[name] = tuple(
                fired_text(each.planned, write_instant(each.sent)) for each in stored.fired
            )
        self._doubtful.add(name)

    def _take_out(self, key: Key) -> None:
        name = key.name
        if key.part is Part.DEFINITION:
            self._read_state(name)  # how far it had come counts, should it be added again
            self._timetable.remove(name)
            self._forget(name)
            self._doubtful.add(name)
        elif key.part is Part.PAUSE:
            self._timetable.set_pause(name, None)
        elif self._is_reading:
            self._read_state(name)
            self._timetable.restore(name, None)
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._fired.pop(name, None)
        self._texts.pop(name, None)
        self._built.pop(name, None)

    def _complain(self, key: Key, error: ValueError) -> None:
        """Leave a record that cannot be used as it is, and its schedule with it."""
        problems = self._problems.setdefault(key.name, {})
        if problems.get(key.part) != str(error):
            logger.error(
                "schedule %s: its %s in the log cannot be read: %s; it is left untouched, and nothing is sent for it%s",
                key.name,
                key.part.name.lower(),
                error,
                ", until a newer taskq does" if isinstance(error, NewerFormat) else "",
                extra={"event": "schedule.unreadable", "schedule": key.name},
            )
        problems[key.part] = str(error)
        self._timetable.hold(key.name, True)

    def _solve(self, key: Key) -> None:
        problems = self._problems.get(key.name)
        if problems is None or problems.pop(key.part, None) is None:
            return
        if not problems:
            del self._problems[key.name]
            self._timetable.hold(key.name, False)

    def next_due(self) -> int | None:
        """Return when `take` will have something, in milliseconds since 1970."""
        if self._is_reading:
            self._read_states()
        if self._doubtful:
            return 0
        due, soon = self._timetable.next_due, self._timetable.next_preparation
        if due is None or (soon is not None and soon < due):
            due = soon
        return None if due is None else max(0, -((_EPOCH - due) // _MS))

    def wanted(self, now_ms: int) -> Sequence[int]:
        """Return nothing, for definitions are kept whole; decide and write what is due soon."""
        if self._is_reading:
            self._read_states()
        self._now = now = _EPOCH + now_ms * _MS
        for change in self._timetable.prepare(now, _PREPARED):
            self._built[change.name] = self._build(change)
        return ()

    def load(self, records: Sequence[LogRecord]) -> None:
        """Do nothing: nothing is wanted."""

    def take(self, now_ms: int, limit: int) -> Sequence[Firing]:
        """Return what is due now."""
        if self._is_reading:
            self._read_states()
        self._now = now = _EPOCH + now_ms * _MS
        firings = [firing for name in sorted(self._doubtful) if (firing := self._removal(name))]
        self._doubtful.clear()
        changes = self._timetable.take(now, watching_since=self._watching_since(), limit=limit)
        return firings + [self._firing(change) for change in changes]

    def _removal(self, name: str) -> Firing | None:
        """Take out what is left of a schedule that has no definition any more."""
        left = self._stored[name] - {Part.DEFINITION}
        is_gone = Part.DEFINITION not in self._stored[name]
        if not left or not is_gone or name in self._problems:
            return None
        self._timetable.remove(name)
        self._forget(name)
        writes = [(key_of(name, part), None) for part in Part if part in left]
        return Firing(name, writes=writes)

    def _firing(self, change: Change) -> Firing:
        name = change.name
        built = self._built.pop(name, None)
        if built is None or built.change.decision is not change.decision:
            built = self._build(change)
        state = built.state.replace(_SENT_LATER, write_instant(self._now).encode())
        writes = ((built.key, state),)
        return Firing(name, built.messages, writes, built.letters, _Taken(built, self._now))

    def _build(self, change: Change) -> _Built:
        """Return what a decision writes, but for the time of the sending."""
        name, decision = change.name, change.decision
        messages, letters = self._messages(change)
        last = [fired_text(each.planned, SENT_LATER) for each in decision.occurrences[-MOST_FIRED:]]
        fired = (*self._fired.get(name, ()), *last)[-MOST_FIRED:]
        state = state_text(self._text(name, decision.state.definition), decision.state, fired)
        return _Built(change, messages, letters, fired, key_of(name, Part.STATE), state)

    def _messages(self, change: Change) -> tuple[list[Outgoing], list[TimerLetter]]:
        """Return the messages of a decision, and letters of what cannot be written."""
        messages: list[Outgoing] = []
        letters: list[TimerLetter] = []
        for occurrence in change.decision.occurrences:
            try:
                messages.append(self._message(occurrence))
            except (EncodeError, InvalidQueueName) as error:
                letters.append(self._unwritable(occurrence, str(error)))
        return messages, letters

    def _text(self, name: str, definition: Definition) -> str:
        kept = self._texts.get(name)
        if kept is None or kept[0] is not definition:
            kept = definition, encode(definition.to_json()).decode()
            self._texts[name] = kept
        return kept[1]

    def _message(self, occurrence: Occurrence) -> Outgoing:
        entry = occurrence.definition.entry
        queue, priority = entry.queue or self._queue_of(entry.task), self._priority_of(entry.task)
        return message_of(occurrence, queue, self._format, priority=priority)

    def _unwritable(self, occurrence: Occurrence, error: str) -> TimerLetter:
        definition = encode(definition_to_json(occurrence.definition))
        return self._letter(occurrence, definition, (), "bad_arguments", error)

    def _letter(
        self,
        occurrence: Occurrence,
        value: bytes,
        headers: Sequence[tuple[str, bytes]],
        reason: str,
        error: str,
    ) -> TimerLetter:
        definition = occurrence.definition
        failed = instant_text(self._now)
        texts = {
            "dlq-id": occurrence.task_id,
            "dlq-task": definition.entry.task,
            "dlq-reason": reason,
            "dlq-error": error,
            "dlq-attempts": "0",
            "dlq-first-failed": failed,
            "dlq-failed": failed,
            "dlq-worker": self._host,
        }
        place = f"{self._places[definition.name]}/{write_seconds(occurrence.planned)}"
        written = [(name, text.encode(errors="backslashreplace")) for name, text in texts.items()]
        return TimerLetter(place.encode(), value, [*headers, *written])

    def settle(self, firings: Sequence[Firing]) -> None:
        """Note that firings were committed."""
        for firing in firings:
            taken = firing.token
            if not isinstance(taken, _Taken):
                continue  # a removal, whose end comes back by the log
            decision = taken.decision
            self._timetable.settle(firing.name, decision)
            if firing.name in self._timetable:
                self._fired[firing.name] = _with_time(taken)
            if decision.left_out is not None:
                _say_left_out(firing.name, decision.left_out)
            _say_sent(firing, taken)

    def give_up(self, firing: Firing, reason: str, error: str) -> Firing:
        """Return the letters of a firing's messages in their place, with the same state."""
        taken = firing.token
        if not isinstance(taken, _Taken) or not firing.messages:
            return replace(firing, writes=())  # nothing is lost: it is decided again
        by_id = {each.task_id.encode(): each for each in taken.decision.occurrences}
        letters = [
            self._letter(
                by_id[dict(message.headers)["id"]],
                message.value,
                [*message.headers, *_way_back(message)],
                reason,
                error,
            )
            for message in firing.messages
        ]
        return replace(firing, messages=(), letters=[*firing.letters, *letters])

    def __len__(self) -> int:
        return len(self._timetable)


def _with_time(taken: _Taken) -> tuple[str, ...]:
    """Return the last occurrences of what was sent, with the time of that."""
    sent, fired = write_instant(taken.at), taken.built.fired
    first = max(0, len(fired) - len(taken.decision.occurrences))
    return (*fired[:first], *(text.replace(SENT_LATER, sent) for text in fired[first:]))


def _way_back(message: Outgoing) -> list[tuple[str, bytes]]:
    """Return the headers by which a letter's message can be sent after all."""
    queue = (QUEUE, message.queue.encode())
    return [queue] if message.key is None else [queue, (SOURCE_KEY, message.key)]


def _say_left_out(name: str, left_out: LeftOut) -> None:
    logger.warning(
        "schedule %s: what was missed from %s to %s is left out, as its catch_up says",
        name,
        left_out.first.isoformat(),
        left_out.last.isoformat(),
        extra={"event": "occurrence.left_out", "schedule": name},
    )


def _say_sent(firing: Firing, taken: _Taken) -> None:
    if firing.letters:
        logger.error(
            "schedule %s: %d of its occurrences cannot be sent; they are dead letters of %s",
            firing.name,
            len(firing.letters),
            "taskq.timers",
            extra={"event": "occurrence.refused", "schedule": firing.name},
        )
    if not firing.messages or not logger.isEnabledFor(logging.DEBUG):
        return
    for occurrence in taken.decision.occurrences:
        late = (taken.at - occurrence.due).total_seconds()
        logger.debug(
            "sent %s, %.0f ms after it was due",
            occurrence.task_id,
            late * 1000,
            extra={"event": "occurrence.sent", "id": occurrence.task_id, "lateness": late},
        )
