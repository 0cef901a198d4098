"""Reading a schedule file: what is wrong with the file itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from taskq.errors import ScheduleFileError
from taskq.scheduling import schedulefile
from taskq.scheduling.schedulefile import read_schedule_file, signature_of

GOOD = b'[{"id": "a", "cron": "* * * * *", "task": "t"}]'


def refused(path: Path) -> ScheduleFileError:
    with pytest.raises(ScheduleFileError) as caught:
        read_schedule_file(str(path))
    return caught.value


def test_file_is_read_with_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    path.write_bytes(GOOD)

    file = read_schedule_file(str(path))

    assert [entry.id for entry in file.entries] == ["a"]
    assert len(file.digest) == 64


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD)

    assert len(read_schedule_file(str(path)).entries) == 1


def test_empty_list_is_a_file_without_entries(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    path.write_bytes(b"[]")

    assert read_schedule_file(str(path)).entries == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b'[\n {"id" 5}]', "line 2, column 8"),
        (b"{}", "must hold a list of entries, and holds an object"),
        (b"[1", "line 1, column 3"),
        (b'[\n{"id": "\xff"}]', "is not UTF-8: line 2"),
        ("[]".encode("utf-16"), "is not UTF-8"),
        (b"[NaN]", "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "is not JSON that can be read"),
    ],
)
def test_wrong_content_is_told_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "jobs.json"
    path.write_bytes(content)

    error = refused(path)

    assert said in str(error)
    assert "\n" not in str(error)
    assert error.path == str(path)


def test_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    path.write_bytes(GOOD.replace(b'"task": "t"', b'"task": "t", "kwargs": {"x": 1, "x": 2}'))

    assert refused(path).problems == ["entry 1: 'x': the key stands twice in one object"]


def test_missing_file_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path / "nothing.json").problems == ["there is no such file"]


def test_directory_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path).problems == ["is a directory"]


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    assert refused(path).problems == ["is not a plain file"]


def test_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.json"
    path.write_bytes(GOOD)
    monkeypatch.setattr(schedulefile, "MAX_BYTES", 10)

    assert "is larger than" in refused(path).problems[0]


def test_many_problems_are_counted_only(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    path.write_text(json.dumps([5] * 60), "utf-8")

    problems = refused(path).problems

    assert len(problems) == 51
    assert problems[-1] == "and 10 more problems"


def test_signature_changes_with_the_size(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    path.write_bytes(GOOD)
    before = signature_of(str(path))

    path.write_bytes(GOOD + b" ")

    assert signature_of(str(path)) != before
    assert signature_of(str(tmp_path / "nothing")) is None
