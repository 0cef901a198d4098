"""The tables of the reference pages stand in the repository as the code makes them."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[3] / "docs"
ADVICE = """{page} is not what the code says. Write it anew, and commit it with the change:

    python docs/reference.py
"""


@cache
def reference() -> Any:
    """Return the program that writes the pages."""
    spec = spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_say_what_the_code_says() -> None:
    for path, now in reference().outdated().items():
        old, new = path.read_text(encoding="utf-8").splitlines(), now.splitlines()
        diff = difflib.unified_diff(old, new, "written", "now", lineterm="", n=1)
        pytest.fail("\n".join([ADVICE.format(page=path.relative_to(DOCS)), *diff]), pytrace=False)


def test_all_that_the_code_can_say_stands_in_a_page() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))

    for name in reference().GENERATED:
        assert text.count(f"\n<!-- taskq: {name} -->\n") == 1


def test_what_stands_between_the_marks_is_replaced_and_nothing_else() -> None:
    text = "# Page\n\n<!-- taskq: events -->\nstale text\n<!-- taskq: end -->\n\nby hand\n"

    filled = reference().filled(text)

    assert "stale" not in filled
    assert filled.startswith("# Page\n\n<!-- taskq: events -->\n\n| event | meaning |")
    assert filled.endswith("|\n\n<!-- taskq: end -->\n\nby hand\n")
    assert reference().filled(filled) == filled
