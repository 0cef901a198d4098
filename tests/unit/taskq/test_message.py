from __future__ import annotations

import json
import uuid
import zlib
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taskq.errors import DecodeError, EncodeError
from taskq.message import (
    JSON,
    Writer,
    encode,
    identify,
    new_task_id,
    new_task_ids,
    read_body,
    read_headers,
)
from taskq_kafka.records import Record

BODY = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
OWN = [("task", b"add"), ("id", b"1")]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def record(value: bytes | None = BODY, headers: Any = OWN) -> Record:
    return Record("billing", 2, 40, -1, None, value, headers)


def read(value: bytes | None = BODY, headers: Any = OWN) -> Any:
    envelope = read_headers(record(value, headers))
    return read_body(envelope, value)


def refusal(value: bytes | None = BODY, headers: Any = OWN) -> str:
    """Return the reason for which a record is refused."""
    with pytest.raises(DecodeError) as caught:
        read(value, headers)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    str(caught.value).encode()
    return caught.value.reason


@given(st.lists(json_values, max_size=3), st.dictionaries(st.text(), json_values, max_size=3))
def test_arguments_come_back_as_they_were(args: list[Any], kwargs: dict[str, Any]) -> None:
    assume("__type__" not in json.dumps([args, kwargs]))  # kombu's own mark

    value, headers = encode("add", "1", args, kwargs)

    assert read(value, headers) == (args, kwargs, None)


@given(st.binary(max_size=60), st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9))))
def test_no_record_raises_anything_but_decode_error(value: bytes, headers: Any) -> None:
    for given_headers in (headers, [*OWN, *headers]):
        try:
            read(value, given_headers)
        except DecodeError as error:
            assert error.reason in ("unreadable", "unsupported")  # noqa: PT017


def test_own_records_carry_four_headers() -> None:
    _, headers = encode("add", "1", (1,), {})

    assert headers == [
        ("task", b"add"),
        ("id", b"1"),
        ("content-type", b"application/json"),
        ("content-encoding", b"utf-8"),
    ]


def test_further_headers_keep_their_types() -> None:
    value, headers = encode("add", "1", (), {}, headers={"retries": 2, "tenant": "7", "n": 7})

    envelope = read_headers(record(value, headers))

    assert envelope.retries == 2
    assert envelope.headers["tenant"] == "7"
    assert envelope.headers["n"] == 7


def test_the_argument_that_cannot_be_written_is_named() -> None:
    with pytest.raises(EncodeError) as caught:
        encode("add", "1", (1, object()), {"a": 1})

    assert caught.value.argument == "argument 2"


def test_the_keyword_that_cannot_be_written_is_named() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(EncodeError) as caught:
        Writer("add").write("1", (1,), {"fine": 1, "loop": endless})

    assert caught.value.argument == "keyword 'loop'"


def test_embed_is_written_with_all_its_parts() -> None:
    value, _ = encode("add", "1", (), {}, embed={"callbacks": [{"task": "t"}]})

    embed = json.loads(value)[2]

    assert embed == {
        "callbacks": [{"task": "t"}],
        "errbacks": None,
        "chain": None,
        "chord": None,
    }


def test_a_record_without_headers_is_read_from_its_value() -> None:
    value = b'{"task": "add", "args": [1], "kwargs": {"y": 2}, "id": "mine"}'

    envelope = read_headers(record(value, []))

    assert (envelope.task, envelope.id) == ("add", "mine")
    assert read_body(envelope, value) == ([1], {"y": 2}, None)


def test_a_record_without_headers_and_id_is_named_by_its_place() -> None:
    assert read_headers(record(b'{"task": "add"}', [])).id == "billing/2/40"


def test_headers_of_other_programs_do_not_matter_to_plain_records() -> None:
    assert read(b'{"task": "add"}', [("traceparent", b"00-1")]) == ([], {}, None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[]",
        b'"add"',
        b"{}",
        b'{"task": 1}',
        b'{"task": ""}',
        b'{"task": "add", "id": 3}',
        b'{"task": "add", "id": "\\u001b[2J"}',
        b'{"task": "add", "args": {}}',
        b'{"task": "add", "kwargs": []}',
        b'{"task": "add"',
        b"\xff\xfe",
        b'{"task": "add", "args": [' + b"[" * 100_000,
    ],
)
def test_a_value_that_is_no_plain_record_is_unreadable(value: bytes | None) -> None:
    assert refusal(value, []) == "unreadable"


@pytest.mark.parametrize(
    ("value", "headers", "expected"),
    [
        (b"", [*OWN, ("tenant", b"\xff")], ("add", "1")),
        (b"", [("task", b"\xff"), ("id", b"1")], ("", "1")),
        (b"", [("task", b"add"), ("id", b"\x00")], ("add", "")),
        (b'{"task": "add", "id": "1", "eta": 7}', [], ("add", "1")),
        (b'{"task": "add", "id": {}}', [], ("add", "")),
    ],
)
def test_of_what_is_refused_task_and_id_are_read_as_far_as_they_can_be(
    value: bytes, headers: Any, expected: tuple[str, str]
) -> None:
    envelope = identify(record(value, headers))

    assert envelope is not None
    assert (envelope.task, envelope.id) == expected


@pytest.mark.parametrize(
    ("value", "headers"),
    [(None, []), (b"hello", []), (b"[]", []), (b"", [("task", b"\xff"), ("id", b"\xff")])],
)
def test_what_has_neither_task_nor_id_is_nameless(value: bytes | None, headers: Any) -> None:
    assert identify(record(value, headers)) is None


def test_a_plain_record_cannot_ask_for_more() -> None:
    assert refusal(b'{"task": "add", "eta": "2030-01-01T00:00:00Z"}', []) == "unsupported"


@pytest.mark.parametrize(
    "headers",
    [
        [("task", b"add")],
        [("id", b"1")],
        [("task", b""), ("id", b"1")],
        [("task", None), ("id", b"1")],
        [("task", b"\xff"), ("id", b"1")],
        [("task", b"add"), ("id", b"1\n2026-11-23 INFO worker: forged")],
        [("task", b"add"), ("id", b"\x1b[2J")],
        [("task", b"add"), ("id", b"x" * 1001)],
        [("task", b"7"), ("id", b"1"), ("kombu-json", b"task")],
        [*OWN, ("content-type", b"application/x-python-serialize")],
        [*OWN, ("content-encoding", b"idna")],
        [*OWN, ("retries", b"many")],
        [*OWN, ("retries", b"-1")],
        [*OWN, ("retries", b"true")],
        [*OWN, ("timelimit", b"30")],
        [*OWN, ("timelimit", b"[-1, null]")],
        [*OWN, ("eta", b"tomorrow")],
        [*OWN, ("expires", b"0001-01-01T00:00:00+23:00")],
        [*OWN, ("expires", b"7"), ("kombu-json", b"expires")],
        [*OWN, ("compression", b"application/x-snappy")],
        [*OWN, ("kombu-json", b"absent,\xff")],
        [*OWN, ("x", b"{"), ("kombu-json", b"x")],
    ],
)
def test_headers_that_cannot_be_read_are_unreadable(headers: Any) -> None:
    assert refusal(BODY, headers) == "unreadable"


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"[]",
        b"[[], {}]",
        b"[[], {}, {}, {}]",
        b"{}",
        b'["ab", {}, {}]',
        b"[{}, {}, {}]",
        b"[[], [], {}]",
        b"[[], {}, []]",
        b"[[], {}, 3]",
        BODY[:-1],
        b"[" * 100_000,
        b'[["\xff"], {}, {}]',
        b"[[" + b"9" * 5000 + b"], {}, {}]",
        b'[[{"__type__": "spam", "__value__": 1}], {}, {}]',
        b'[[{"__type__": [], "__value__": 1}], {}, {}]',
        b'[[{"__type__": "uuid", "__value__": 1}], {}, {}]',
        b'[[{"__type__": "decimal", "__value__": "x"}], {}, {}]',
        b'[[{"__type__": "datetime", "__value__": 5}], {}, {}]',
        b'[[{"\\u005f_type__": "datetime", "__value__": 5}], {}, {}]',
        b'[[], {}, {"callbacks": 3}]',
        b'[[], {}, {"callbacks": [{"args": []}]}]',
    ],
)
def test_bodies_that_cannot_be_read_are_unreadable(body: bytes | None) -> None:
    assert refusal(body) == "unreadable"


def test_an_eta_is_compared_with_the_readers_clock() -> None:
    headers = [*OWN, ("eta", b"2026-11-23T17:00:00Z")]

    def at(hour: int) -> datetime:
        return datetime(2026, 11, 23, hour, tzinfo=timezone.utc)

    envelope = read_headers(record(BODY, headers))

    assert envelope.eta == at(17)
    assert not envelope.is_early(at(17))
    assert envelope.is_early(at(16))


def test_what_has_waited_among_the_timers_is_not_early_by_any_clock() -> None:
    headers = [*OWN, ("eta", b"2026-11-23T17:00:00Z"), ("taskq-fired", b"1795453200000")]

    envelope = read_headers(record(BODY, headers))

    assert not envelope.is_early(datetime(2026, 11, 23, 16, tzinfo=timezone.utc))


def test_a_compressed_body_is_read() -> None:
    headers = [*OWN, ("compression", b"application/x-gzip")]

    assert read(zlib.compress(BODY), headers) == ([], {}, None)


def test_a_compressed_body_that_is_cut_off_is_unreadable() -> None:
    headers = [*OWN, ("compression", b"application/x-gzip")]

    assert refusal(zlib.compress(BODY)[:-3], headers) == "unreadable"


def test_a_content_type_is_read_only_where_a_format_is_given() -> None:
    headers = [*OWN, ("content-type", b"application/x-other")]

    envelope = read_headers(record(BODY, headers), {"application/x-other": JSON})

    assert read_body(envelope, BODY, {"application/x-other": JSON}) == ([], {}, None)


@pytest.mark.parametrize(
    "make", [lambda count: [new_task_id() for _ in range(count)], lambda n: list(new_task_ids(n))]
)
def test_task_ids_are_uuids_of_version_7_in_order(make: Any) -> None:
    ids = make(1000)

    assert len(set(ids)) == 1000
    assert all(uuid.UUID(id).version == 7 for id in ids)
    assert all(uuid.UUID(id).variant == uuid.RFC_4122 for id in ids)
    assert [id[:17] for id in ids] == sorted(id[:17] for id in ids)
