"""How processes of this worker died with tasks that were delivered again: Kafka keeps only their number.

Pure. What other workers saw is not known here, nor what this one saw before it was started anew.
"""

from __future__ import annotations

import threading

from taskq.attempts import NONE, Attempt, Attempts
from taskq.protocols import Record

MOST_RECORDS = 1000
"""Records of which it is remembered: those that end elsewhere, after a rebalance, are never asked for."""

_Place = tuple[str, int, int]


class Deaths:
    """Any thread may call it. False while there are none, so that usual ends cost a look."""

    def __init__(self) -> None:
        """Begin with none."""
        self._guard = threading.Lock()
        self._known: dict[_Place, Attempts] = {}

    def __len__(self) -> int:
        return len(self._known)

    def note(self, record: Record, attempt: Attempt) -> None:
        """Take note that a process died with a record, which is delivered again."""
        place = _place(record)
        with self._guard:
            # Taken out first: what died last stands last.
            self._known[place] = self._known.pop(place, NONE).with_one(attempt)
            if len(self._known) > MOST_RECORDS:
                del self._known[next(iter(self._known))]

    def of(self, record: Record) -> Attempts:
        """Return how processes died with a record before."""
        return self._known.get(_place(record), NONE)

    def forget(self, record: Record) -> None:
        """Take note that a record will not be delivered again."""
        with self._guard:
            self._known.pop(_place(record), None)


def _place(record: Record) -> _Place:
    return record.queue, record.partition, record.offset
