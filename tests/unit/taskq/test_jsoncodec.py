from __future__ import annotations

import json
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from taskq import jsoncodec

zones = st.sampled_from([None, timezone.utc, timezone(timedelta(hours=-3, minutes=-30))])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.datetimes(timezones=zones.filter(bool))
    | st.datetimes()
    | st.times()
    | st.uuids()
    | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(values)
def test_it_writes_what_kombu_writes(value: Any) -> None:
    assert jsoncodec.dumps(value) == kombu_json.dumps(value).encode()


@given(values)
def test_it_reads_what_kombu_reads(value: Any) -> None:
    data = kombu_json.dumps(value).encode()

    assert jsoncodec.loads(data) == kombu_json.loads(data)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc),
        date(2026, 1, 2),
        time(3, 4),
        Decimal("1.10"),
        uuid.UUID(int=5),
        b"\xff",
    ],
)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert jsoncodec.loads(jsoncodec.dumps([value])) == [value]


def test_an_object_may_say_what_it_is_in_json() -> None:
    class Money:
        def __json__(self) -> list[int]:
            return [3]

    assert jsoncodec.dumps(Money()) == b"[3]"


def test_other_objects_have_no_json() -> None:
    with pytest.raises(TypeError):
        jsoncodec.dumps({1, 2})


@pytest.mark.parametrize("text", ["[1, 2]", " [1, 2]\n", '"a"', "-1.5e3", "NaN", "null"])
def test_plain_text_means_what_json_says(text: str) -> None:
    assert repr(jsoncodec.loads(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", " ", "[1", "[1] 2", "\ufeff1", "nul", '{"a": }'])
def test_what_is_no_json_is_refused_with_the_words_of_json(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)

    with pytest.raises(json.JSONDecodeError) as raised:
        jsoncodec.loads(text.encode())

    assert str(raised.value) == str(expected.value)


def test_an_encoding_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="encoding"):
        jsoncodec.loads(b"1", "punycode")


def test_value_that_holds_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)

    with pytest.raises(RecursionError):
        jsoncodec.dumps(endless)


def test_value_that_stands_twice_in_another_is_written_twice() -> None:
    twice = [1]

    assert jsoncodec.dumps([twice, twice]) == b"[[1], [1]]"
