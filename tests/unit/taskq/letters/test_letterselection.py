from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import pytest

from taskq.letters.deadletters import DeadLetterView, read_dead_letter
from taskq.letters.letterselection import REASONS, Selection
from taskq.protocols import StoredDeadLetter
from tests.support.processes import ROOT

FIVE = datetime(2026, 11, 23, 17, tzinfo=timezone.utc)
SIX = datetime(2026, 11, 23, 18, tzinfo=timezone.utc)


def view(**headers: str) -> DeadLetterView:
    told = {
        "id": "id-1",
        "task": "invoice",
        "reason": "failed",
        "error": "ValueError: No money",
        "failed": "2026-11-23T17:30:00Z",
        **headers,
    }
    stored = tuple((f"dlq-{name}", text.encode()) for name, text in told.items() if text)
    return read_dead_letter(StoredDeadLetter("billing/3/17", "billing", b"[]", stored))


@pytest.mark.parametrize(
    ("asked", "is_taken"),
    [
        ({}, True),
        ({"ids": ("id-1",)}, True),
        ({"ids": ("other", "billing/3/17")}, True),
        ({"ids": ("id",)}, False),
        ({"task": "invoice"}, True),
        ({"task": "Invoice"}, False),
        ({"reason": "failed"}, True),
        ({"reason": "rejected"}, False),
        ({"error": "no MONEY"}, True),
        ({"error": "money!"}, False),
        ({"failed_before": SIX}, True),
        ({"failed_before": FIVE}, False),
        ({"failed_after": FIVE}, True),
        ({"failed_after": SIX}, False),
        ({"task": "invoice", "reason": "rejected"}, False),
        ({"failed_after": FIVE, "failed_before": SIX, "error": "value"}, True),
    ],
)
def test_all_that_is_asked_must_fit(asked: dict[str, Any], is_taken: bool) -> None:
    assert Selection(**asked).takes(view()) is is_taken


def test_a_letter_that_tells_no_time_is_neither_old_nor_new() -> None:
    timeless = view(failed="")

    assert not Selection(failed_before=SIX).takes(timeless)
    assert not Selection(failed_after=FIVE).takes(timeless)


def test_a_letter_without_error_or_task_fits_no_filter_for_them() -> None:
    bare = view(task="", error="")

    assert not Selection(task="invoice").takes(bare)
    assert not Selection(error="value").takes(bare)


def test_ids_that_no_letter_has_are_told() -> None:
    asked = Selection(ids=("id-1", "billing/3/17", "id-2"))

    assert asked.unmatched_ids([view()]) == ["id-2"]


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        (Selection(task="invoce"), "invoice"),
        (Selection(task="xyz"), None),
        (Selection(reason="rejected"), None),
        (Selection(task="invoice", error="zzz"), None),
    ],
)
def test_what_was_probably_meant_is_told(asked: Selection, near: str | None) -> None:
    assert asked.near_miss([view()]) == near


def test_the_docs_name_every_reason_and_no_other() -> None:
    text = (ROOT / "docs" / "reference" / "headers.md").read_text(encoding="utf-8")
    table = text.partition("### Reasons")[2]

    assert sorted(re.findall(r"(?m)^\| `([a-z_]+)` \|", table)) == list(REASONS)
