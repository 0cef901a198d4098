"""One record on the wire: kombu's headers and properties as Kafka headers, and back.

Text stands as its UTF-8 bytes, readable in any Kafka tool. Any other value stands as JSON, and its name in the header
`kombu-json`; without that list the headers of Celery's task protocol 2 get the types that protocol gives them. A property stands
as `kombu-NAME`, except `content_type` and `content_encoding`. Pure, standard library only; what a task message means is not
decided here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, Protocol

from .errors import HeaderInvalid, RecordUnreadable
from .steps import queue_of_source

HeaderList = Sequence[tuple[str, "bytes | None"]]
"""Headers as they stand on a record: names may repeat, values are bytes or null."""

JSON_NAMES: Final = "kombu-json"
"""The header that lists, by comma, which of the others are JSON."""

PROPERTY_PREFIX: Final = "kombu-"

_PLAIN_PROPERTIES: Final = {
    "content_type": "content-type",
    "content_encoding": "content-encoding",
}
_PLAIN_HEADERS: Final = {header: name for name, header in _PLAIN_PROPERTIES.items()}

_PROTOCOL_JSON: Final = frozenset(
    {
        "retries",
        "timelimit",
        "group_index",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
    }
)
"""Headers of task protocol 2 that are not text (Celery docs, "Message Protocol")."""

_PROTOCOL_NULLABLE: Final = _PROTOCOL_JSON | {
    "eta",
    "expires",
    "group",
    "root_id",
    "parent_id",
    "shadow",
}
"""Headers of task protocol 2 where an empty text, as other languages' clients write it, means null."""

_NOT_SENT: Final = frozenset({"body_encoding", "delivery_tag", "key"})
"""Properties that do not travel: bodies are raw, tags are made on receipt, the key has its own place."""


class Record:
    """One record of a queue, as it was fetched, and what its channel knows of this delivery.

    Made once per record on the hot path: a plain class with slots, arguments by position.
    """

    __slots__ = (
        "deaths",
        "deliveries",
        "delivery_tag",
        "epoch",
        "headers",
        "is_suspect",
        "key",
        "lived",
        "offset",
        "offset_expired",
        "partition",
        "queue",
        "redelivered",
        "timestamp_ms",
        "value",
    )

    def __init__(
        self,
        queue: str,
        partition: int,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: HeaderList,
        delivery_tag: int = 0,
        epoch: int = 0,
        redelivered: bool = False,
        offset_expired: bool = False,
        deliveries: int = 0,
        deaths: int = 0,
        is_suspect: bool = False,
        lived: bool = False,
    ) -> None:
        self.queue = queue
        self.partition = partition
        self.offset = offset
        self.timestamp_ms = timestamp_ms
        self.key = key
        self.value = value
        self.headers = headers
        self.delivery_tag = delivery_tag
        self.epoch = epoch
        self.redelivered = redelivered
        self.offset_expired = offset_expired
        self.deliveries = deliveries
        self.deaths = deaths
        self.is_suspect = is_suspect
        self.lived = lived

    @property
    def source(self) -> str:
        """QUEUE/PARTITION/OFFSET: names this record for ever."""
        return f"{self.queue}/{self.partition}/{self.offset}"

    def __repr__(self) -> str:
        return f"<Record {self.source} tag={self.delivery_tag}>"


LOST_HEADERS: Final[HeaderList] = (("taskq-headers-lost", b"\xff a header's name is not UTF-8"),)
"""Stands for headers that the client cannot hand out: `decode_headers` finds them unreadable, a dead letter tells what was lost."""


class Headed(Protocol):
    """What we read of confluent_kafka.Message."""

    def headers(self) -> Any:
        """Return the headers, or None."""


def headers_of(message: Headed) -> HeaderList:
    """Return the headers of a message of the client.

    A name that is not UTF-8 makes the client raise a SystemError, and a second call then gives a list with a null pointer in it,
    which ends the process when it is touched: the first call must be the only one.
    """
    try:
        return message.headers() or ()
    except (SystemError, UnicodeDecodeError):
        return LOST_HEADERS


def encode_headers(
    headers: Mapping[str, Any], properties: Mapping[str, Any] = {}
) -> list[tuple[str, bytes]]:
    """Return Kafka headers for kombu's headers and properties.

    Raises:
        HeaderInvalid: A name is reserved or cannot be written, or a value has no JSON form.
    """
    encoded: list[tuple[str, bytes]] = []
    json_names: list[str] = []
    listed = False
    for property_name, value in properties.items():
        if property_name in _NOT_SENT or value is None:
            continue
        name = _PLAIN_PROPERTIES.get(property_name) or PROPERTY_PREFIX + property_name
        if name == JSON_NAMES:
            raise HeaderInvalid(name, "this name is reserved")
        _append(encoded, json_names, name, value)
    for name, value in headers.items():
        if name in _PLAIN_HEADERS or name.startswith(PROPERTY_PREFIX):
            raise HeaderInvalid(name, "this name is reserved")
        _append(encoded, json_names, name, value)
        # Without a list a reader gives these the protocol's type; a text that must stay one needs the list, even an empty one.
        listed = listed or (
            isinstance(value, str)
            and name in _PROTOCOL_NULLABLE
            and (not value or name in _PROTOCOL_JSON)
        )
    if json_names or listed:
        encoded.append((JSON_NAMES, ",".join(json_names).encode()))
    return encoded


def _append(encoded: list[tuple[str, bytes]], json_names: list[str], name: str, value: Any) -> None:
    """Encode one value, as text where that is possible."""
    if not name or "," in name or not name.isprintable():
        raise HeaderInvalid(name, "a name is printable text without a comma")
    if isinstance(value, str):
        try:
            encoded.append((name, value.encode()))
            return
        except UnicodeEncodeError:
            pass  # A lone surrogate has no UTF-8; in JSON it can be escaped.
    try:
        text = json.dumps(value, default=_jsonable, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise HeaderInvalid(name, f"its value cannot be written as JSON: {error}") from error
    json_names.append(name)
    encoded.append((name, text.encode()))


def _jsonable(value: Any) -> Any:
    """Return a JSON value for the few other types that clients put into headers."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, Decimal)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def decode_headers(raw: HeaderList) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return kombu's headers and properties of Kafka headers.

    Of a name that occurs twice the last one counts, as in Kafka's own clients. `content-type` and `content-encoding` come back as
    the properties `content_type` and `content_encoding`. Takes 1 µs for the headers of our own records.

    Raises:
        RecordUnreadable: Something is not UTF-8, or not the JSON it is said to be.
    """
    headers: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    typed = False
    try:
        for name, value in raw:
            if name in _PLAIN_HEADERS:
                properties[_PLAIN_HEADERS[name]] = None if value is None else value.decode()
                continue
            headers[name] = None if value is None else value.decode()
            if name in _PROTOCOL_NULLABLE or name[:6] == PROPERTY_PREFIX:
                typed = True
    except UnicodeDecodeError as error:
        raise RecordUnreadable(f"header {name!r} is not UTF-8") from error
    if typed:
        _give_types(headers)
        _part_properties(headers, properties)
    return headers, properties


def _give_types(headers: dict[str, Any]) -> None:
    """Replace texts that are JSON by their values."""
    listed = headers.pop(JSON_NAMES, None)
    if listed is not None:
        names: Iterable[str] = listed.split(",") if listed else ()
    else:
        for name in _PROTOCOL_NULLABLE & headers.keys():
            headers[name] = headers[name] or None
        names = _PROTOCOL_JSON & headers.keys()
    for name in names:
        text = headers.get(name)
        if text is not None:
            headers[name] = _parse(name, text)


def _parse(name: str, text: str) -> Any:
    """Return the value of a JSON header."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordUnreadable(f"header {name!r} is not JSON: {error}") from error


def _part_properties(headers: dict[str, Any], properties: dict[str, Any]) -> None:
    """Move what stands as `kombu-NAME` to the properties."""
    for name in [name for name in headers if name[:6] == PROPERTY_PREFIX]:
        properties[name[6:]] = headers.pop(name)


def payload_to_record(
    payload: Mapping[str, Any], queue: str
) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
    """Return key, value and headers for a payload of kombu's virtual transports.

    The exchange and routing key are left out where they say no more than the queue's name.

    Raises:
        HeaderInvalid: A header cannot be written.
    """
    properties = dict(payload.get("properties") or {})
    key = properties.get("key")
    delivery_info = properties.get("delivery_info")
    if delivery_info is not None and not _without_news(delivery_info, queue):
        properties["delivery_info"] = delivery_info
    else:
        properties.pop("delivery_info", None)
    properties["content_type"] = payload.get("content-type")
    properties["content_encoding"] = payload.get("content-encoding")
    headers = encode_headers(payload.get("headers") or {}, properties)
    body = payload.get("body")
    value = body.encode() if isinstance(body, str) else bytes(body or b"")
    return (key.encode() if isinstance(key, str) else key), value, headers


def _without_news(delivery_info: Mapping[str, Any], queue: str) -> bool:
    """Whether a reader would make the same delivery_info from the queue's name alone."""
    return not delivery_info.get("exchange") and delivery_info.get("routing_key") == queue


def record_to_payload(record: Record) -> dict[str, Any]:
    """Return the payload of kombu's virtual transports for a record; the body stays bytes.

    Raises:
        RecordUnreadable: The headers cannot be read.
    """
    headers, properties = decode_headers(record.headers)
    content_type = properties.pop("content_type", None) or "application/json"
    content_encoding = properties.pop("content_encoding", None) or "utf-8"
    delivery_info = properties.get("delivery_info")
    if not isinstance(delivery_info, dict):
        delivery_info = {"exchange": "", "routing_key": queue_of_source(record.queue)}
    delivery_info["redelivered"] = record.redelivered
    properties["delivery_info"] = delivery_info
    properties["delivery_tag"] = record.delivery_tag
    if record.key is not None:
        properties["key"] = record.key.decode(errors="replace")
    return {
        "body": record.value or b"",
        "content-type": content_type,
        "content-encoding": content_encoding,
        "headers": headers,
        "properties": properties,
    }
