"""One task message on the wire: Celery's task protocol 2, as a value and headers of a record. Pure.

Writing is `Writer` (what is constant for a task is encoded once) and `encode`. Reading has two steps: `read_headers` before
the claim says which task it is, `read_body` after it gives the arguments. A record that another program wrote without headers
is read when its value is a JSON object with `task`, and optionally `args`, `kwargs`, `id`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, NamedTuple

from taskq import jsoncodec
from taskq.clock import unix_ns
from taskq.errors import DecodeError, EncodeError
from taskq.protocols import Record
from taskq.running import limits
from taskq.sending import canvas, compression
from taskq_kafka.records import decode_headers, encode_headers

Encoded = tuple[bytes, list[tuple[str, bytes]]]
"""Value and headers of a record."""

Body = tuple["list[Any]", "dict[str, Any]", "dict[str, Any] | None"]
"""Arguments, keyword arguments, and what is to be sent afterwards (None: nothing)."""

PROTOCOL_HEADERS = frozenset(
    [
        "argsrepr",
        "compression",
        "content-encoding",
        "content-type",
        "eta",
        "expires",
        "group",
        "group_index",
        "id",
        "ignore_result",
        "kwargsrepr",
        "lang",
        "origin",
        "parent_id",
        "replaced_task_nesting",
        "retries",
        "root_id",
        "shadow",
        "stamped_headers",
        "stamps",
        "task",
        "taskq-attempts",
        "taskq-fired",
        "taskq-requeued",
        "timelimit",
    ]
)
"""Headers with a meaning in the protocol; a caller's own may not have these names."""

FIRED = "taskq-fired"
"""The header of a record that has waited among the timers: its time has come, whatever the reader's clock says (timers.py)."""

_NO_EMBED_TEXT = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'
_NO_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_PLAIN_KEYS = frozenset({"task", "args", "kwargs", "id"})
_NOT_WRITABLE = (TypeError, ValueError, RecursionError)
_LONGEST_REASON = 500  # characters; a decoder's text may quote a megabyte of input

LONGEST_ID = 1000
"""Characters that a task's id may have: it stands in log lines, headers and keys. A schedule's are below 300."""


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a body."""

    name: str
    content_type: str
    content_encoding: str
    dumps: Callable[[Any], bytes]
    """Raises TypeError, ValueError or RecursionError for what cannot be written."""

    loads: Callable[[bytes, str], Any]
    """Takes the bytes and the encoding's name; raises ValueError for what cannot be read."""


JSON = Format("json", "application/json", "utf-8", jsoncodec.dumps, jsoncodec.loads)

Formats = Mapping[str, Format]
"""What may be read, by content type."""

JSON_ONLY: Formats = MappingProxyType({JSON.content_type: JSON})


class Envelope(NamedTuple):
    """What a record's headers say. A tuple, because one is made for every record before its claim."""

    task: str
    id: str
    content_type: str
    content_encoding: str
    eta: datetime | None
    """Not to be run before; aware, in UTC."""

    expires: datetime | None
    """Not to be run after; aware, in UTC."""

    headers: Mapping[str, Any]
    """All headers by name with their types, also `task` and `id`; empty for a record without headers."""

    plain: bool = False
    """Whether task and id stood in the value of a record without headers."""

    def is_expired(self, now: datetime) -> bool:
        """Return whether its time to be run has passed."""
        return self.expires is not None and self.expires <= now

    def is_early(self, now: datetime) -> bool:
        """Return whether its `eta` has not come. What has waited among the timers is not: its owner's clock counts."""
        return self.eta is not None and self.eta > now and FIRED not in self.headers

    @property
    def retries(self) -> int:
        """How often the task was tried before."""
        return int(self.headers.get("retries") or 0)


def new_task_id() -> str:
    """Return a UUIDv7: ids made later sort later, to the quarter of a microsecond (RFC 9562, 5.7 and 6.2, method 3)."""
    return _task_id(os.urandom(8).hex())


def new_task_ids(count: int) -> Iterator[str]:
    """Yield so many, each made when it is taken; the system is asked once for what is random in them."""
    random = os.urandom(8 * count).hex()
    return (_task_id(random[place : place + 16]) for place in range(0, 16 * count, 16))


_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""A random digit with the two bits in it that every such id has."""


def _task_id(random: str) -> str:
    """Return an id of the present time with 16 random digits."""
    milliseconds, rest = divmod(unix_ns(), 1_000_000)
    # 48 bits of milliseconds, the version 7, 12 bits of a millisecond's fraction.
    time = f"{milliseconds << 16 | 0x7000 | rest * 4096 // 1_000_000:016x}"
    return f"{time[:8]}-{time[8:12]}-{time[12:]}-{_VARIANT[random[0]]}{random[1:4]}-{random[4:]}"


def is_task_id(text: str) -> bool:
    """Return whether a text may be a task's id: printable, since it stands in log lines, and not endless."""
    return 0 < len(text) <= LONGEST_ID and text.isprintable()


_NO_ID = f"no printable text of at most {LONGEST_ID} characters"


class Writer:
    """Writes messages of one task. Any thread may use it."""

    __slots__ = ("_head", "_json", "_tail", "_task", "format")

    def __init__(self, task: str, format: Format = JSON) -> None:
        self.format = format
        self._task = task
        self._json = format is JSON
        self._head = ("task", task.encode())
        self._tail = (
            ("content-type", format.content_type.encode()),
            ("content-encoding", format.content_encoding.encode()),
        )

    def write(
        self,
        id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        headers: Mapping[str, Any] | None = None,
        embed: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Encoded:
        """Return value and headers of a message.

        Args:
            id: The task's id.
            args: Positional arguments.
            kwargs: Keyword arguments.
            headers: Further headers, with values that JSON can hold.
            embed: What is to be sent afterwards: `callbacks`, `errbacks`, `chain`.
            priority: Stands on the message if it is not 0, as kombu's property.

        Raises:
            EncodeError: An argument or header cannot be written; names it.
        """
        type, encoding = self._tail
        written = [self._head, ("id", id.encode()), type, encoding]
        if headers or priority:
            written += self._headers(headers or {}, priority)
        return self._value(args, kwargs, embed), written

    def _value(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], embed: Mapping[str, Any] | None
    ) -> bytes:
        try:
            if self._json and embed is None:
                dump = jsoncodec.dump_text
                words = dump(kwargs) if kwargs else "{}"
                return f"[{dump(args) if args else '[]'}, {words}, {_NO_EMBED_TEXT}]".encode()
            return self.format.dumps([args, kwargs, {**_NO_EMBED, **(embed or {})}])
        except _NOT_WRITABLE as error:
            raise self._culprit(args, kwargs, error) from error

    def _culprit(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], error: Exception
    ) -> EncodeError:
        """Return the error that names the first argument which cannot be written alone."""
        named = [(f"argument {place}", value) for place, value in enumerate(args, 1)]
        named += [(f"keyword {name!r}", value) for name, value in kwargs.items()]
        for name, value in named:
            try:
                self.format.dumps(value)
            except _NOT_WRITABLE as cause:
                return EncodeError(self._task, name, _why(cause))
        return EncodeError(self._task, "the arguments", _why(error))

    def _headers(self, headers: Mapping[str, Any], priority: int) -> list[tuple[str, bytes]]:
        try:
            return encode_headers(headers, {"priority": priority} if priority else {})
        except ValueError as error:
            raise EncodeError(self._task, "a header", _why(error)) from error


def encode(
    task: str,
    id: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    headers: Mapping[str, Any] | None = None,
    embed: Mapping[str, Any] | None = None,
    format: Format = JSON,
    priority: int = 0,
) -> Encoded:
    """Return value and headers of one message; see `Writer.write`."""
    return Writer(task, format).write(
        id, args, kwargs, headers=headers, embed=embed, priority=priority
    )


def protocol_form(record: Record, envelope: Envelope) -> Encoded:
    """Return value and headers of a record that was read, as the protocol has them: one without its headers gets them.

    Headers of others stay as they are; those without a value, which say nothing, are left out.

    Raises:
        DecodeError: It has no value that can be read.
    """
    headers = [(name, value) for name, value in record.headers if value is not None]
    if not envelope.plain:
        return record.value or b"", headers
    try:
        args, kwargs, _ = _plain_body(_plain_object(record.value or b""))
        value, written = encode(envelope.task, envelope.id, args, kwargs)
    except ValueError as error:
        raise _unreadable(error) from error
    # What nobody read as the protocol's must not be read so now.
    foreign = [each for each in headers if not _is_ours(each[0])]
    return value, [*written, *foreign]


def _is_ours(name: str) -> bool:
    return name in PROTOCOL_HEADERS or name.startswith("kombu-")


def read_headers(record: Record, formats: Formats = JSON_ONLY) -> Envelope:
    """Return what a record's headers say, before it is claimed. Takes 2-3 µs for our own records.

    Args:
        record: The record.
        formats: What may be read.

    Raises:
        DecodeError: `unreadable`, or `unsupported`.
    """
    try:
        headers, properties = decode_headers(record.headers)
    except ValueError as error:
        raise _unreadable(error) from error
    task, id = headers.get("task"), headers.get("id")
    if task is None and id is None:
        return _read_plain(record)
    if not isinstance(task, str) or not task:
        raise DecodeError("unreadable", "the header 'task' is missing or is no text")
    if not isinstance(id, str) or not is_task_id(id):
        raise DecodeError("unreadable", f"the header 'id' is missing or is {_NO_ID}")
    if record.value is None:
        raise DecodeError("unreadable", "the record has no value")
    content_type = properties.get("content_type") or JSON.content_type
    if content_type not in formats:
        raise DecodeError(
            "unreadable",
            f"the content type {content_type[:80]!r} is not read; the setting accept_content names what is",
        )
    encoding = properties.get("content_encoding") or "utf-8"
    if len(headers) == 2:
        return Envelope(task, id, content_type, encoding, None, None, headers)
    _check_types(headers)
    eta, expires = _instant(headers, "eta"), _instant(headers, "expires")
    return Envelope(task, id, content_type, encoding, eta, expires, headers)


def identify(record: Record) -> Envelope | None:
    """Return task and id of a record that `read_headers` refused, as far as they can be read: for its dead letter.

    One that cannot be is empty; None where neither can.
    """
    found = {name: value for name, value in record.headers if name in ("task", "id") and value}
    task, id = (_text(found.get(name)) for name in ("task", "id"))
    if not found:
        try:
            fields = _plain_object(record.value or b"")
        except ValueError:
            return None
        task, id = (
            each if isinstance(each, str) else "" for each in map(fields.get, ("task", "id"))
        )
    id = id if is_task_id(id) else ""
    if not task and not id:
        return None
    return Envelope(task, id, "", "", None, None, {})


def _text(value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        return ""


def read_body(envelope: Envelope, value: bytes | None, formats: Formats = JSON_ONLY) -> Body:
    """Return arguments, keyword arguments, and what is to be sent afterwards.

    Raises:
        DecodeError: `unreadable`, or `unsupported` (something that is to be sent afterwards).
    """
    try:
        if value is None:
            raise ValueError("the record has no value")
        if envelope.plain:
            args, kwargs, embed = _plain_body(_plain_object(value))
        else:
            args, kwargs, embed = _protocol_body(_decoded(envelope, value, formats))
        _check_arguments(args, kwargs)
    except ValueError as error:
        raise _unreadable(error) from error
    if not embed or embed == _NO_EMBED:
        return args, kwargs, None
    canvas.check(embed)
    return args, kwargs, embed


def _decoded(envelope: Envelope, value: bytes, formats: Formats) -> Any:
    packing = envelope.headers.get("compression")
    if packing:
        value = compression.decompress(value, packing)
    form = formats.get(envelope.content_type)
    if form is None:
        raise ValueError(f"the content type {envelope.content_type[:80]!r} is not read")
    return form.loads(value, envelope.content_encoding)


def _protocol_body(body: Any) -> tuple[Any, Any, Any]:
    if not isinstance(body, (list, tuple)) or len(body) != 3:
        raise ValueError("the body is not [args, kwargs, embed]")
    args, kwargs, embed = body
    if embed is not None and not isinstance(embed, dict):
        raise ValueError("the body's third part is no object")
    return list(args) if isinstance(args, tuple) else args, kwargs, embed


def _check_arguments(args: Any, kwargs: Any) -> None:
    if not isinstance(args, list):
        raise ValueError("args is no list")
    if not isinstance(kwargs, dict) or not all(isinstance(name, str) for name in kwargs):
        raise ValueError("kwargs is no object with texts as names")


def _read_plain(record: Record) -> Envelope:
    """Read the value of a record without headers: nothing else tells which task it is."""
    try:
        if record.value is None:
            raise ValueError("the record has neither headers nor a value")
        fields = _plain_object(record.value)
        task = fields.get("task")
        if not isinstance(task, str) or not task:
            raise ValueError("there are no headers, and the value has no 'task'")
        id = fields.get("id")
        if id is None:
            id = f"{record.queue}/{record.partition}/{record.offset}"
        if not isinstance(id, str) or not is_task_id(id):
            raise ValueError(f"'id' is {_NO_ID}")
        args, kwargs, _ = _plain_body(fields)
        _check_arguments(args, kwargs)
    except ValueError as error:
        raise _unreadable(error) from error
    unknown = {name for name, value in fields.items() if value is not None} - _PLAIN_KEYS
    if unknown:
        raise DecodeError(
            "unsupported", f"a record without headers has no {_why(min(unknown))[:80]!r}"
        )
    return Envelope(task, id, JSON.content_type, "utf-8", None, None, {}, True)


def _plain_object(value: bytes) -> dict[str, Any]:
    fields = jsoncodec.loads(value)
    if not isinstance(fields, dict):
        raise ValueError("there are no headers, and the value is no JSON object")
    return fields


def _plain_body(fields: dict[str, Any]) -> tuple[Any, Any, None]:
    args, kwargs = fields.get("args"), fields.get("kwargs")
    return [] if args is None else args, {} if kwargs is None else kwargs, None


def _check_types(headers: Mapping[str, Any]) -> None:
    """Check the headers that are read later, in places that cannot refuse a record."""
    retries = headers.get("retries")
    if retries is not None and (
        isinstance(retries, bool) or not isinstance(retries, int) or retries < 0
    ):
        raise DecodeError("unreadable", "the header 'retries' is no count")
    packing = headers.get("compression")
    if packing and (not isinstance(packing, str) or packing not in compression.SUPPORTED):
        raise DecodeError("unreadable", f"the compression {str(packing)[:40]!r} is not supported")
    timelimit = headers.get("timelimit")
    if timelimit is not None and not limits.is_header(timelimit):
        raise DecodeError("unreadable", "the header 'timelimit' is not [hard, soft] in seconds")


def _instant(headers: Mapping[str, Any], name: str) -> datetime | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        if not isinstance(text, str):
            raise ValueError("it is no text")
        # Python 3.10 reads no Z.
        instant = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
        # Celery's protocol: an instant without offset is UTC.
        aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise DecodeError(
            "unreadable", f"the header {name!r} is no ISO 8601 instant: {_why(error)}"
        ) from error


def _unreadable(error: Exception) -> DecodeError:
    return DecodeError("unreadable", _why(error))


def _why(error: object) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    # A lone surrogate of hostile JSON would break every log and header that the text is written to.
    return text[:_LONGEST_REASON].encode(errors="backslashreplace").decode()
