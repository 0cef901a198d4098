from __future__ import annotations

import pytest

from taskq.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", Address("taskq", "localhost:9092")),
        ("a:1,b", Address("taskq", "a:1,b:9092")),
        ("taskq://a:1,b:2", Address("taskq", "a:1,b:2")),
        ("taskqs://me:p%40ss@a:1/", Address("taskqs", "a:1", "me", "p@ss")),
        ("taskq://[::1]", Address("taskq", "[::1]:9092")),
        ("memory://", Address("memory", "")),
    ],
)
def test_forms_of_an_address(text: str, expected: Address) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["a:b", "a:0", "a:70000", ":9092", "a b:1", "http://a", "a:1,,b:2", "taskq://a/b", ""]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


@pytest.mark.parametrize("scheme", ["kafka", "confluentkafka"])
def test_kombus_own_transport_is_refused_with_a_hint(scheme: str) -> None:
    with pytest.raises(ValueError, match="taskq://"):
        parse_address(f"{scheme}://localhost:9092")


def test_the_text_form_has_no_password() -> None:
    address = parse_address("taskq://me:hidden@a:1")

    assert str(address) == "taskq://me:***@a:1"
    assert "hidden" not in repr(address)
