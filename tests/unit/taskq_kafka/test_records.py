"""Headers and properties on the wire, and back."""

from __future__ import annotations

import contextlib
import json
import uuid
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq_kafka.errors import HeaderInvalid, RecordUnreadable
from taskq_kafka.records import (
    Record,
    decode_headers,
    encode_headers,
    headers_of,
    payload_to_record,
    record_to_payload,
)

PROTOCOL_NAMES = ["retries", "timelimit", "eta", "expires", "group", "stamps", "task", "id", "lang"]
names = st.one_of(
    st.sampled_from(PROTOCOL_NAMES),
    st.text(min_size=1, max_size=12).filter(
        lambda name: (
            name.isprintable()
            and "," not in name
            and not name.startswith("kombu-")
            and name not in ("content-type", "content-encoding")
        )
    ),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
property_names = names.filter(
    # the first are not written, the others are text by their nature
    lambda name: (
        name
        not in ("body_encoding", "delivery_tag", "key", "json", "content_type", "content_encoding")
    )
)


def record(headers: Any, *, value: bytes | None = b"[]", key: bytes | None = None) -> Record:
    return Record("q", 1, 2, 3, key, value, headers, 5)


@given(
    headers=st.dictionaries(names, values, max_size=6),
    properties=st.dictionaries(property_names, values.filter(lambda v: v is not None), max_size=4),
)
def test_headers_and_properties_survive_the_trip(
    headers: dict[str, Any], properties: dict[str, Any]
) -> None:
    assert decode_headers(encode_headers(headers, properties)) == (headers, properties)


@given(headers=st.lists(st.tuples(st.text(max_size=12), st.none() | st.binary(max_size=40))))
def test_any_bytes_are_read_or_called_unreadable(headers: list[tuple[str, bytes | None]]) -> None:
    with contextlib.suppress(RecordUnreadable):
        decode_headers(headers)


def test_text_stands_as_its_bytes_and_the_rest_as_listed_json() -> None:
    encoded = encode_headers({"task": "invoice", "retries": 2}, {"correlation_id": "7"})

    assert encoded == [
        ("kombu-correlation_id", b"7"),
        ("task", b"invoice"),
        ("retries", b"2"),
        ("kombu-json", b"retries"),
    ]


def test_content_type_and_encoding_stand_under_their_own_names() -> None:
    encoded = encode_headers({}, {"content_type": "application/json", "content_encoding": "utf-8"})

    assert encoded == [("content-type", b"application/json"), ("content-encoding", b"utf-8")]


def test_protocols_headers_get_the_protocols_types_without_a_list() -> None:
    headers, _ = decode_headers(
        [
            ("task", b"invoice"),
            ("retries", b"3"),
            ("timelimit", b"[null, 20]"),
            ("ignore_result", b"true"),
            ("eta", b""),
            ("expires", None),
            ("group", b"12"),
            ("custom", b"3"),
        ]
    )

    assert headers == {
        "task": "invoice",
        "retries": 3,
        "timelimit": [None, 20],
        "ignore_result": True,
        "eta": None,
        "expires": None,
        "group": "12",
        "custom": "3",
    }


def test_list_says_which_are_json_and_no_other_is() -> None:
    headers, _ = decode_headers([("retries", b"3"), ("x", b"[1]"), ("kombu-json", b"x")])

    assert headers == {"retries": "3", "x": [1]}


def test_last_of_two_headers_of_one_name_counts() -> None:
    assert decode_headers([("task", b"a"), ("task", b"b")])[0] == {"task": "b"}


@pytest.mark.parametrize(
    "raw",
    [
        [("task", b"\xff")],
        [("retries", b"three")],
        [("retries", b"\xff")],
        [("x", b"{"), ("kombu-json", b"x")],
        [("x", b"[" * 100_000), ("kombu-json", b"x")],
        [("kombu-json", b"\xff")],
    ],
)
def test_what_is_not_as_it_says_is_unreadable(raw: list[tuple[str, bytes]]) -> None:
    with pytest.raises(RecordUnreadable):
        decode_headers(raw)


def test_null_header_is_none() -> None:
    assert decode_headers([("x", None), ("content-type", None)]) == (
        {"x": None},
        {"content_type": None},
    )


@pytest.mark.parametrize("name", ["", "a,b", "kombu-x", "content-type", "line\nbreak"])
def test_name_that_cannot_be_read_back_is_refused(name: str) -> None:
    with pytest.raises(HeaderInvalid) as raised:
        encode_headers({name: 1})

    assert raised.value.header == name


def test_value_without_json_form_is_refused_by_name() -> None:
    with pytest.raises(HeaderInvalid) as raised:
        encode_headers({"x": object()})

    assert raised.value.header == "x"


def test_values_of_common_types_are_written() -> None:
    at = datetime(2026, 11, 24, tzinfo=timezone.utc)
    name = uuid.uuid4()

    headers, _ = decode_headers(encode_headers({"at": at, "by": name, "set": {2, 1}}))

    assert headers == {"at": at.isoformat(), "by": str(name), "set": [1, 2]}


def test_celery_message_survives_the_trip() -> None:
    celery = pytest.importorskip("celery")
    app = celery.Celery("test", set_as_current=False)
    message = app.amqp.as_task_v2("id-1", "invoice", args=[1], kwargs={"a": 2}, countdown=60)
    payload = {
        "body": json.dumps(message.body),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": message.headers,
        "properties": {
            **message.properties,
            "delivery_mode": 2,
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "the publisher's",
            "delivery_info": {"exchange": "", "routing_key": "q"},
        },
    }

    key, value, headers = payload_to_record(payload, "q")
    back = record_to_payload(record(headers, value=value, key=key))

    assert key is None
    assert json.loads(back["body"]) == json.loads(payload["body"])
    assert back["headers"] == json.loads(json.dumps(message.headers))
    assert back["content-type"] == "application/json"
    assert back["content-encoding"] == "utf-8"
    assert back["properties"] == {
        "correlation_id": "id-1",
        "reply_to": "",
        "delivery_mode": 2,
        "priority": 0,
        "delivery_tag": 5,
        "delivery_info": {"exchange": "", "routing_key": "q", "redelivered": False},
    }


def test_exchange_travels_where_it_says_more_than_the_queue() -> None:
    payload = {
        "body": b"\x80",
        "properties": {"delivery_info": {"exchange": "x", "routing_key": "r"}, "key": "k"},
    }

    key, value, headers = payload_to_record(payload, "q")
    back = record_to_payload(record(headers, value=value, key=key))

    assert (key, value) == (b"k", b"\x80")
    assert back["properties"]["delivery_info"]["exchange"] == "x"
    assert back["properties"]["key"] == "k"


def test_record_without_anything_becomes_a_payload() -> None:
    back = record_to_payload(record((), value=None))

    assert (back["body"], back["headers"]) == (b"", {})
    assert back["content-type"] == "application/json"


class Hostile:
    """A message with a header whose name is not UTF-8, as the client shows it."""

    def __init__(self) -> None:
        self.calls = 0

    def headers(self) -> Any:
        self.calls += 1
        raise SystemError("returned a result with an exception set")


def test_headers_with_an_impossible_name_are_asked_for_once_and_unreadable() -> None:
    message = Hostile()

    headers = headers_of(message)

    assert message.calls == 1
    with pytest.raises(RecordUnreadable):
        decode_headers(headers)


def test_record_names_its_source() -> None:
    assert record(()).source == "q/1/2"
