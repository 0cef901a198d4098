"""What mypy says of users' code: what is right passes, what is wrong is refused where it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).with_name("tasks.py")
REPOSITORY = Path(__file__).parents[2]


def mypy(file: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy as a user with strict settings would."""
    config = directory / "mypy.ini"
    config.write_text(
        "[mypy]\nstrict = True\nfollow_imports = silent\nignore_missing_imports = True\n"
    )
    cache = ("--cache-dir", str(directory / "cache"))
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), *cache, str(file)]
    return subprocess.run(command, capture_output=True, check=False, text=True, cwd=REPOSITORY)


def test_right_calls_pass_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    done = mypy(FILE, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mistake_that_is_not_expected_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(FILE.read_text(encoding="utf-8").replace("bare.delay(1)", 'bare.delay("1")'))

    done = mypy(wrong, tmp_path)

    assert done.returncode == 1
    assert "[arg-type]" in done.stdout
