"""What no code here may ask of an AdminClient: a test that provokes the crash behind it would be right one time in seven."""

from __future__ import annotations

from pathlib import Path

import taskq_kafka

SOURCES = Path(taskq_kafka.__file__).parent


def test_committed_offsets_are_not_asked_of_an_admin_client() -> None:
    asking = [
        path.name
        for path in SOURCES.glob("*.py")
        if ".list_consumer_group_offsets(" in path.read_text("utf-8")
    ]

    assert asking == []
