"""Pages whose examples are modules and tests of them are right: the files, as they stand there, pass under pytest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, environment

PAGES = ("once-only.md", "retries.md")


@pytest.mark.parametrize("name", PAGES)
def test_the_tests_of_a_page_pass(name: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / name).read_text(encoding="utf-8")
    files = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert len(files) == page.count("```python\n")
    for file, text in files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
