"""What users hold on to changes on purpose only: names, signatures, commands, options, settings, events, exit codes."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from tests.support.public_interface import describe

FILE = Path(__file__).parents[1] / "data" / "public-interface.txt"

ADVICE = """The public interface is not what tests/data/public-interface.txt says. What was there (-) may be in use somewhere.
If the change is meant, write the file anew, look at its diff, and commit it together with a fragment in changelog.d/:

    TASKQ_UPDATE_INTERFACE=1 python -m pytest tests/unit/test_public_interface.py
"""


def test_the_public_interface_is_as_it_was_recorded() -> None:
    now = describe()
    if os.environ.get("TASKQ_UPDATE_INTERFACE"):
        FILE.write_text(now, encoding="utf-8")

    recorded = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    if now != recorded:
        old, new = recorded.splitlines(), now.splitlines()
        diff = difflib.unified_diff(old, new, "recorded", "now", lineterm="", n=1)
        pytest.fail("\n".join([ADVICE, *diff]), pytrace=False)


def test_the_description_does_not_depend_on_what_ran_before() -> None:
    assert describe() == describe()
    assert " at 0x" not in describe()
