"""The page about users' tests is right: its files, as they stand there, pass under pytest as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT, environment

PAGE = (ROOT / "docs" / "how-to" / "testing.md").read_text(encoding="utf-8")


def files() -> dict[str, str]:
    """Return the page's files: each block of Python begins with its file's name."""
    blocks = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == PAGE.count("```python\n")
    return dict(blocks)


def test_the_pages_tests_pass_and_are_as_many_as_it_says(tmp_path: Path) -> None:
    for name, text in files().items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    promised = re.search(r"^(\d+ passed) in", PAGE, re.MULTILINE)
    assert promised is not None

    # Warnings are errors: the plugin must not bring any to a project that is strict.
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
    assert promised[1] in done.stdout
