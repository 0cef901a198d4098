"""What a beat says of what else is in force in its namespaces."""

from __future__ import annotations

import pytest

from taskq.neighbours import origin_of, shared_lines, unloaded_line
from taskq.scheduling.reconcile import Offer

KNOWN = ["file:1.json", "code:shop", "file:shop"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.json", "file:1.json"),
        ("conf/1.json", "file:1.json"),
        ("file:1.json", "file:1.json"),
        ("shop", "file:shop"),
        ("code:shop", "code:shop"),
        ("2.json", None),
    ],
)
def test_a_person_names_a_source_by_file_or_module(text: str, expected: str | None) -> None:
    assert origin_of(text, KNOWN) == expected


def test_one_line_names_all_sources_with_the_command_that_removes_them() -> None:
    line = unloaded_line("jobs", {"code:shop": 1, "file:1.json": 1200})

    assert line.text == (
        "namespace jobs: 1 schedule of code:shop, 1,200 schedules of 1.json are in force, which this beat does not load; if no "
        "other beat does, remove them: taskq schedule remove --source code:shop --source 1.json --namespace jobs"
    )


def test_many_shared_ids_are_one_line() -> None:
    offer = Offer("jobs", "file:2.json", "/etc/2.json", "", ())

    (line,) = shared_lines(offer, {"file:1.json": [f"id{n}" for n in range(7)]})

    assert (
        "the ids 'id0', 'id1', 'id2', 'id3', 'id4' and 2 more of /etc/2.json are also in 1.json"
        in line.text
    )
