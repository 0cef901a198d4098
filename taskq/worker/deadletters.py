"""The `dlq-*` headers of a dead letter. Pure."""

from __future__ import annotations

import functools
from datetime import datetime

import taskq
from taskq.attempts import HEADER, NONE, Attempts, instant_text, read_attempts, write_attempts
from taskq.letters.deadletters import FORMAT
from taskq.message import Envelope
from taskq.protocols import DeadLetter, Record
from taskq.running.inplace import without_hold


def dead_letter(
    record: Record,
    envelope: Envelope | None,
    *,
    reason: str,
    error: str,
    traceback: str = "",
    has_run: bool,
    worker: str,
    now: datetime,
    deaths: Attempts = NONE,
) -> DeadLetter:
    """Return a record as a dead letter.

    Args:
        record: As it stood in its queue.
        envelope: What its headers say, as far as they can be read.
        reason: One of the codes for `dlq-reason`.
        error: One line.
        traceback: From the user's function on; may be empty.
        has_run: Whether its function was started: that attempt is counted.
        worker: The worker's name.
        now: When it failed; aware, in UTC.
        deaths: How processes died with the record before, as far as it is known; its deliveries count all.
    """
    failed = instant_text(now)
    before = read_attempts(envelope.headers.get(HEADER)) if envelope is not None else NONE
    # What is told of attempts may be more than the retries: processes died with records before this one.
    ended = max(_retries(envelope), len(before.last)) if envelope is not None else 0
    attempts = ended + record.deliveries + has_run
    names = {"dlq-id": envelope.id, "dlq-task": envelope.task} if envelope is not None else {}
    texts = {name: text for name, text in names.items() if text}
    texts |= {"dlq-reason": reason, "dlq-error": error}
    if traceback:
        texts["dlq-traceback"] = traceback
    texts |= {
        "dlq-attempts": str(attempts),
        "dlq-first-failed": before.first or deaths.first or failed,
        "dlq-failed": failed,
        "dlq-worker": worker,
        "dlq-worker-version": _own_version(),
        "dlq-version": str(FORMAT),
    }
    if record.deliveries:
        texts["dlq-deliveries"] = str(record.deliveries)
    headers = [(name, text.encode(errors="backslashreplace")) for name, text in texts.items()]
    if deaths.last:
        headers.append(("dlq-deaths", write_attempts(deaths)))
    return DeadLetter(without_hold(record), headers)


@functools.cache  # it is read from files
def _own_version() -> str:
    return taskq.__version__


def _retries(envelope: Envelope) -> int:
    try:
        return envelope.retries
    except (TypeError, ValueError):
        return (
            0  # a sender's nonsense in the header does not keep the record out of the dead letters
        )
