from __future__ import annotations

from taskq.protocols import QueueStatus
from taskq.queuetotals import totals


def test_a_queue_counts_with_its_steps() -> None:
    found = totals(
        [
            QueueStatus("b", 4, 0, None, 1),
            QueueStatus("a", 12, 5, 3.0, 2),
            QueueStatus("a.p9", 6, 2, 8.0, 3),
            QueueStatus("a.p3", 12, 0, None, 2),
        ]
    )

    assert found == [QueueStatus("a", 12, 7, 8.0, 3), QueueStatus("b", 4, 0, None, 1)]


def test_a_queue_of_which_only_a_step_exists_is_one() -> None:
    assert totals([QueueStatus("a.p6", 12, 1, 1.0, 0)]) == [QueueStatus("a", 12, 1, 1.0, 0)]
