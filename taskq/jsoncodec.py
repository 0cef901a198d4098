"""JSON as kombu 5.7 writes and reads it, byte for byte: what Celery's clients and workers expect.

A value that JSON has no form for stands as `{"__type__": NAME, "__value__": ...}`. Types that a program registered with
`kombu.utils.json.register_type` are unknown here.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

_MARK = "__type__"
_ENCODINGS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "binary", "latin-1", "iso-8859-1"})
"""Encodings of text that a record may name. Not all that Python knows: some take quadratic time on hostile input."""


def _marked(value: Any) -> Any:
    """Return the JSON form of a value that has none of its own."""
    reduce = getattr(value, "__json__", None)
    if reduce is not None:
        return reduce()
    if isinstance(value, datetime):  # before date: a datetime is one
        return {_MARK: "datetime", "__value__": value.isoformat()}
    if isinstance(value, date):
        return {_MARK: "date", "__value__": value.isoformat()}
    if isinstance(value, time):
        return {_MARK: "time", "__value__": value.isoformat()}
    if isinstance(value, Decimal):
        return {_MARK: "decimal", "__value__": str(value)}
    if isinstance(value, uuid.UUID):
        return {_MARK: "uuid", "__value__": {"hex": value.hex}}
    if isinstance(value, bytes):
        return _marked_bytes(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _marked_bytes(value: bytes) -> Any:
    try:
        return {_MARK: "bytes", "__value__": value.decode()}
    except UnicodeDecodeError:
        return {_MARK: "base64", "__value__": base64.b64encode(value).decode()}


_UNMARK: dict[str, Callable[[Any], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": lambda text: datetime.fromisoformat(text).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda fields: uuid.UUID(**fields),
    "bytes": lambda text: text.encode(),
    "base64": lambda text: base64.b64decode(text.encode()),
}


def _unmarked(fields: dict[str, Any]) -> Any:
    if fields.keys() != {_MARK, "__value__"}:
        return fields
    kind = fields[_MARK]
    if not isinstance(kind, str) or kind not in _UNMARK:
        raise ValueError(f"values of the type {str(kind)[:40]!r} are not supported")
    return _UNMARK[kind](fields["__value__"])


def _dump_function() -> Callable[[Any], str]:
    """Return what makes JSON text. `JSONEncoder.encode` makes an encoder in C for each value, which takes longer than its use."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # not CPython
        return json.JSONEncoder(default=_marked).encode
    escape = json.encoder.encode_basestring_ascii
    # Without a memory of what is being encoded, which threads cannot share: a value within itself is a RecursionError.
    encode = make(None, _marked, escape, None, ": ", ", ", False, False, True)
    join = "".join
    return lambda value: join(encode(value, 0))


dump_text: Callable[[Any], str] = _dump_function()
"""Return the JSON text of a value; raises TypeError, ValueError or RecursionError for what has none."""

_load_marked = json.JSONDecoder(object_hook=_unmarked).decode
_decode_first = json.JSONDecoder().raw_decode


def _load_plain(text: str) -> Any:
    """Return the value of JSON text in which nothing is marked."""
    try:
        value, end = _decode_first(text)
    except ValueError:
        end = -1
    # White space around it, and what is to be said of text that is no JSON: as json has it, at twice the price.
    return value if end == len(text) else json.loads(text)


def dumps(value: Any) -> bytes:
    """Return the JSON of a value. Raises TypeError, ValueError or RecursionError for what has none."""
    return dump_text(value).encode()


def loads(data: bytes, encoding: str = "utf-8") -> Any:
    """Return the value of JSON bytes.

    Raises:
        ValueError: They are no JSON in this encoding, too deep, or hold a marked value that cannot be.
    """
    encoding = encoding.lower()
    if encoding not in _ENCODINGS:
        raise ValueError(f"the encoding {encoding[:40]!r} is not supported")
    text = data.decode("utf-8" if encoding == "binary" else encoding)
    try:
        # The hook is called for every object: leave it out where nothing can be marked. An escaped mark has a backslash.
        if _MARK in text or "\\" in text:
            return _load_marked(text)
        return _load_plain(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (TypeError, AttributeError, KeyError, ArithmeticError) as error:
        raise ValueError(f"a marked value cannot be read: {error}") from error
