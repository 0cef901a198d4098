from __future__ import annotations

import pytest

from taskq.hostport import HostPort, parse_host_port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", HostPort("127.0.0.1", 8080)),
        (" localhost:1 ", HostPort("localhost", 1)),
        ("[::1]:65535", HostPort("::1", 65535)),
    ],
)
def test_a_host_and_a_port(text: str, expected: HostPort) -> None:
    assert parse_host_port(text) == expected
    assert str(expected) == text.strip()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("8080", "must be HOST:PORT"),
        (":8080", "0.0.0.0:PORT"),
        ("::1:8080", "brackets"),
        ("[]:8080", "must be HOST:PORT"),
        ("http://x:8080", "brackets|must be"),
        ("x y:80", "must be HOST:PORT"),
        ("x:0", "1 to 65535"),
        ("x:65536", "1 to 65535"),
        ("x:-1", "1 to 65535"),
        ("x:", "1 to 65535"),
        ("x:²", "1 to 65535"),
    ],
)
def test_what_is_none_says_what_to_write(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_host_port(text)
