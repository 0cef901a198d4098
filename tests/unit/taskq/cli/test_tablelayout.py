"""Columns on terminals of fixed widths."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from taskq.cli.tablelayout import GAP, lay_out
from taskq.cli.terminal import draw_table

ID = "01a21661-cbad-7995-9933-f122eb8e9b78"
TIME = "2026-11-23T17:00:00.123Z"
ERROR = "ValueError: No money for ACME, and so the order cannot be delivered today"
HEADINGS = ("ID", "TASK", "QUEUE", "REASON", "ATTEMPTS", "FAILED AT", "ERROR")
ROWS = [(ID, "shop.invoice", "billing", "retries_exhausted", "3", TIME, ERROR)]


def kept(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    layout = lay_out(headings, rows, width)
    assert sum(layout.widths) + GAP * (len(layout.widths) - 1) <= width
    return [headings[place] for place in layout.places]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (220, list(HEADINGS)),
        (140, list(HEADINGS)),
        (120, ["ID", "TASK", "QUEUE", "REASON", "ATTEMPTS", "ERROR"]),
        (100, ["ID", "TASK", "QUEUE", "REASON", "ERROR"]),
        (80, ["ID", "TASK", "QUEUE", "ERROR"]),
        (60, ["ID", "ERROR"]),
        (40, ["ID"]),
    ],
)
def test_columns_have_no_room_from_the_right_and_sentences_are_folded_first(
    width: int, headings: list[str]
) -> None:
    assert kept(HEADINGS, ROWS, width) == headings


@pytest.mark.parametrize("width", [140, 100, 80, 60, 40, 20])
def test_ids_and_times_stand_in_one_piece(width: int) -> None:
    layout = lay_out(HEADINGS, ROWS, width)

    widths = dict(zip(layout.places, layout.widths, strict=True))
    assert widths[0] == len(ID)
    assert widths.get(5, len(TIME)) == len(TIME)


def test_an_id_is_kept_that_is_not_the_first_column() -> None:
    rows = [(TIME, ID, "shop.invoice", "billing")]

    assert kept(("DUE", "ID", "TASK", "QUEUE"), rows, 70) == ["DUE", "ID"]


def test_a_word_beyond_all_measure_is_folded() -> None:
    layout = lay_out(("NAME", "VALUE"), [("sasl.password.file", "x" * 200)], 80)

    assert layout.places == (0, 1)
    assert sum(layout.widths) + GAP == 80


@pytest.mark.parametrize("width", [140, 80, 60])
def test_what_is_drawn_fits_the_terminal_and_says_what_is_left_out(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    left_out = draw_table(HEADINGS, ROWS)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith(ID) for line in lines)
    assert left_out == [each for each in HEADINGS if each not in kept(HEADINGS, ROWS, width)]


def test_an_id_wider_than_the_terminal_is_not_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")

    draw_table(HEADINGS, ROWS)

    assert ID in capsys.readouterr().out.splitlines()
