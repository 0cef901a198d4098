from __future__ import annotations

from pathlib import Path

import taskq_kafka


def test_no_admin_client_is_asked_for_committed_offsets() -> None:
    # It would end the process: docs/decisions/0012-committed-offsets-by-a-consumer.md.
    files = Path(taskq_kafka.__file__).parent.rglob("*.py")

    asking = [file.name for file in files if ".list_consumer_group_offsets(" in file.read_text()]

    assert not asking
