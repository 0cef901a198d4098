"""What an app has sent: a broker that writes it down after it was acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from taskq.broker import Broker
from taskq.errors import DecodeError
from taskq.message import PROTOCOL_HEADERS, Envelope, Formats, identify, read_body, read_headers
from taskq.protocols import DeadLetter, Outgoing, Publisher
from taskq.running.returning import is_return
from taskq.settings import Settings
from taskq.timing.shards import Logs, Write
from taskq.timing.timers import message_of
from taskq_kafka.records import Record, decode_headers
from taskq_kafka.steps import clamped, queue_of_source, step_of_source


@dataclass(frozen=True, slots=True)
class Sent:
    """A task as it was sent, read from its record: arguments have been to their serialized form and back."""

    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    id: str
    queue: str
    headers: dict[str, Any]
    """The caller's own: without those of the message protocol."""

    key: str | bytes | None
    """As text; as bytes where it is not UTF-8."""

    eta: datetime | None = None
    """When it is to run, in UTC, if it was sent to wait."""

    expires: datetime | None = None

    priority: int = 0
    """0 to 9, 9 first."""


class Recorder:
    """What was sent and put aside, in that order. Any thread may call it."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self._places: dict[str, int] = {}
        self._letters: dict[str, int] = {}
        self._next = 0

    def note_sent(self, message: Outgoing, formats: Formats) -> None:
        """Write down a record that was acknowledged; of a task that comes back only where it stands: it was sent before."""
        sent, is_return = _read(message, formats)
        self._place(sent.id)
        if not is_return:
            self.sent.append(sent)

    def note_fired(self, ids: Iterable[str]) -> None:
        """Write down that tasks which have waited were sent on, in this order: from now on they stand behind all others."""
        for id in ids:
            self._place(id)

    def _place(self, id: str) -> None:
        self._places[id] = self._next
        self._next += 1

    def note_letter(self, letter: DeadLetter) -> None:
        """Write down a dead letter."""
        record = letter.record
        source = f"{record.queue}/{record.partition}/{record.offset}"
        self._letters.setdefault(source, len(self._letters))

    def place(self, id: str) -> int:
        """Return when a task was sent, as a number to sort by; what others sent comes last."""
        return self._places.get(id, self._next)

    def letter_place(self, source: str) -> int:
        """Return when a dead letter was written, as a number to sort by."""
        return self._letters.get(source, len(self._letters))


class RecordingPublisher:
    """A `taskq.protocols.Publisher` that notes what another one has written."""

    def __init__(
        self, publisher: Publisher, recorder: Recorder, formats: Callable[[], Formats]
    ) -> None:
        self._publisher = publisher
        self._recorder = recorder
        self._formats = formats

    def publish(
        self, messages: Sequence[Outgoing], *, timeout: float
    ) -> Sequence[Exception | None]:
        """Write records."""
        errors = self._publisher.publish(messages, timeout=timeout)
        formats = self._formats()
        for message, error in zip(messages, errors, strict=True):
            if error is None:
                self._recorder.note_sent(message, formats)
        return errors

    def dead_letters(
        self, letters: Sequence[DeadLetter], *, timeout: float
    ) -> Sequence[Exception | None]:
        """Write dead letters."""
        errors = self._publisher.dead_letters(letters, timeout=timeout)
        for letter, error in zip(letters, errors, strict=True):
            if error is None:
                self._recorder.note_letter(letter)
        return errors


class RecordingLogs:
    """What of a `taskq.timing.shards.Logs` sends tasks, noted; the rest is passed on."""

    def __init__(self, logs: Logs, recorder: Recorder, formats: Callable[[], Formats]) -> None:
        self._logs = logs
        self._recorder = recorder
        self._formats = formats

    def append(self, writes: Sequence[Write], *, timeout: float) -> Sequence[Exception | None]:
        """Write records."""
        errors = self._logs.append(writes, timeout=timeout)
        for write, error in zip(writes, errors, strict=True):
            message = message_of(write)
            if error is None and message is not None:
                self._recorder.note_sent(message, self._formats())
        return errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logs, name)


def recording_broker(
    recorder: Recorder, formats: Callable[[], Formats]
) -> Callable[[Settings], Broker]:
    """Return what makes brokers that tell a recorder what is written.

    Args:
        recorder: Is told.
        formats: What the app's messages may be written in.
    """

    class RecordingBroker(Broker):
        _recording: Publisher | None = None

        @property
        def publisher(self) -> Publisher:
            if self._recording is None:
                self._recording = RecordingPublisher(super().publisher, recorder, formats)
            return self._recording

        @property
        def logs(self) -> Logs:
            return cast(Logs, RecordingLogs(super().logs, recorder, formats))

        def close(self) -> None:
            super().close()
            self._recording = None

    return RecordingBroker


def _read(message: Outgoing, formats: Formats) -> tuple[Sent, bool]:
    """Return what a record says, and whether its task comes back."""
    record = Record(message.queue, 0, 0, 0, message.key, message.value, message.headers)
    envelope: Envelope | None = None
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    try:
        envelope = read_headers(record, formats)
        args, kwargs, _ = read_body(envelope, message.value, formats)
    except DecodeError:
        # Another program's record, or a format that this app writes and does not read.
        envelope = envelope or identify(record)
    headers = envelope.headers if envelope is not None else {}
    sent = Sent(
        task=envelope.task if envelope is not None else "",
        args=tuple(args),
        kwargs=kwargs,
        id=envelope.id if envelope is not None else "",
        queue=queue_of_source(message.queue),
        headers={name: value for name, value in headers.items() if name not in PROTOCOL_HEADERS},
        key=_shown(message.key),
        eta=envelope.eta if envelope is not None else None,
        expires=envelope.expires if envelope is not None else None,
        priority=_priority(message),
    )
    return sent, is_return(headers)


def _priority(message: Outgoing) -> int:
    """Return what the message says, or else the step that it was sent to."""
    try:
        _, properties = decode_headers(message.headers)
    except ValueError:
        properties = {}
    return clamped(properties.get("priority", step_of_source(message.queue)))


def _shown(key: bytes | None) -> str | bytes | None:
    if key is None:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key
