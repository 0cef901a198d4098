from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest

from taskq.dev.terminal import ERR, OUT, Terminal

Written = Callable[[Mapping[str, str]], bytes]


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Written:
    """What a line looks like where stdout is a terminal."""
    written: list[bytes] = []
    monkeypatch.setattr(os, "isatty", lambda stream: stream == OUT)

    def write_all(stream: int, data: bytes) -> int:
        written.append(data)
        return len(data)

    monkeypatch.setattr(os, "write", write_all)

    def write(environ: Mapping[str, str]) -> bytes:
        Terminal(environ).line(OUT, "beat", b"sent")
        return b"".join(written)

    return write


def test_the_name_is_coloured_on_a_terminal(on_a_terminal: Written) -> None:
    assert on_a_terminal({"NO_COLOR": ""}) == b"\x1b[35mbeat   |\x1b[0m sent\n"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_are_left_out_where_they_are_refused(
    on_a_terminal: Written, environ: Mapping[str, str]
) -> None:
    assert on_a_terminal(environ) == b"beat   | sent\n"


def test_a_pipe_gets_no_colours(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    terminal = Terminal({})

    terminal.line(OUT, "worker", b"printed")
    terminal.say("said")

    assert capfdbinary.readouterr() == (b"worker | printed\n", b"dev    | said\n")


def test_a_stream_whose_reader_is_gone_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def write(stream: int, data: bytes) -> int:
        calls.append(stream)
        if stream == OUT:
            raise BrokenPipeError
        return len(data)

    monkeypatch.setattr(os, "write", write)
    terminal = Terminal({})

    for stream in (OUT, OUT, ERR):
        terminal.line(stream, "run", b"x")

    assert calls == [OUT, ERR]
