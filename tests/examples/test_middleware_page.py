"""The page about middleware is right: its files can be imported, and its tests pass as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT, environment

PAGE = (ROOT / "docs" / "how-to" / "middleware.md").read_text(encoding="utf-8")


def test_the_pages_tests_pass_and_are_as_many_as_it_says(tmp_path: Path) -> None:
    files = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    assert len(files) == PAGE.count("```python\n")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    promised = re.search(r"^(\d+ passed) in", PAGE, re.MULTILINE)
    assert promised is not None

    # `-p` imports the files that none of the page's tests needs.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-W", "error"),
            *("-p", "no:cacheprovider", "-p", "tracing", "-p", "provider"),
        ],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert promised[1] in done.stdout
