"""What a stored dead letter says, for people and programs. Pure; writing and fetching them is the transport's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from taskq.attempts import HEADER, MOST, Attempt, read_attempts
from taskq.instants import read_instant
from taskq.protocols import StoredDeadLetter
from taskq_kafka.steps import queue_of_source

FORMAT = 1
"""Of the `dlq-*` headers, in `dlq-version`. Letters without it are older and have fewer of them; newer ones are left alone."""

PREFIX = "dlq-"
"""Begins the names of all headers that say why a record was put aside."""

REDRIVEN = "redriven"
"""Header of a record that was sent back to its queue: how often, by now."""

REDRIVEN_FROM = "redriven-from"
"""Header of such a record: QUEUE/PARTITION/OFFSET, the id of the dead letter that it was."""

_COUNTED = Attempt("?", "its worker died, or gave it back: counted, nothing more is known", "?")
"""A delivery before, of which only Kafka's count tells."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class DeadLetterView:
    """A dead letter, read as far as it can be."""

    id: str
    """The task's id; where the record had none that can be read, its source."""

    task: str | None
    queue: str
    reason: str | None
    error: str | None
    attempts: int | None
    failed_at: str | None
    """When it failed for good, as its writer put it."""

    source: str
    """QUEUE/PARTITION/OFFSET of the record that failed."""

    traceback: str | None
    details: Mapping[str, str]
    """All `dlq-*` headers but the traceback, without the prefix."""

    headers: Mapping[str, str]
    """The record's own headers; what is not UTF-8 is escaped."""

    value: bytes | None
    """The record's value, byte for byte; None where the record had none."""

    written_at: datetime | None = None
    """When the letter was written, by its record's timestamp."""

    earlier: Sequence[Attempt] = ()
    """The attempts before the last one, the latest last: those that led to a retry, and deliveries with which processes died. Of
    the latter Kafka keeps the number alone, so of many nothing more may be known. Of very many attempts the first are left out,
    and `details` says so."""

    @property
    def redriven(self) -> int:
        """How often its record has been sent back to its queue before."""
        count = self.headers.get(REDRIVEN, "")
        return int(count) if _is_count(count) else 0

    @property
    def is_newer(self) -> bool:
        """Whether a newer taskq has written it, in a format that is not known here."""
        version = self.details.get("version", "")
        return _is_count(version) and int(version) > FORMAT

    @property
    def moment(self) -> datetime | None:
        """When it failed, as its writer put it, or else when it was written; None where nothing tells."""
        try:
            return read_instant(self.failed_at or "")
        except ValueError:
            return self.written_at


def read_dead_letter(letter: StoredDeadLetter) -> DeadLetterView:
    """Return what a dead letter says."""
    ours: dict[str, str] = {}
    own: dict[str, str] = {}
    for name, value in letter.headers:
        text = (value or b"").decode(errors="backslashreplace")
        if name.startswith(PREFIX):
            ours[name[len(PREFIX) :]] = text
        else:
            own[name] = text
    attempts = ours.get("attempts", "")
    count = int(attempts) if _is_count(attempts) else None
    earlier = _earlier(ours, own)
    _say_not_kept(ours, own, count, len(earlier))
    has_no_value = ours.pop("null-value", None) is not None
    traceback = ours.pop("traceback", None)
    return DeadLetterView(
        id=ours.get("id") or letter.id,
        task=ours.get("task"),
        queue=letter.queue,
        reason=ours.get("reason"),
        error=ours.get("error"),
        attempts=count,
        failed_at=ours.get("failed"),
        source=letter.id,
        traceback=traceback,
        details=ours,
        headers=own,
        value=None if has_no_value else letter.value,
        written_at=_instant(letter.timestamp_ms),
        earlier=earlier,
    )


def _earlier(ours: dict[str, str], own: Mapping[str, str]) -> Sequence[Attempt]:
    """Return what is known of the attempts before the last one; takes out of `ours` what only programs can read."""
    deaths = read_attempts(ours.pop("deaths", None)).last
    unknown = max(0, _count(ours.get("deliveries")) - len(deaths))
    return (*read_attempts(own.get(HEADER)).last, *([_COUNTED] * min(unknown, MOST)), *deaths)


def _say_not_kept(
    ours: dict[str, str], own: Mapping[str, str], count: int | None, kept: int
) -> None:
    """Say which attempts are not among those that are kept."""
    if count is None:
        return
    ended = max(_count(own.get("retries")), len(read_attempts(own.get(HEADER)).last))
    has_run = count > ended + _count(ours.get("deliveries"))
    if (missing := count - has_run - kept) > 0:
        ours["attempts-not-kept"] = "1" if missing == 1 else f"1 to {missing}"


def _count(text: str | None) -> int:
    return int(text) if text is not None and _is_count(text) else 0


def _is_count(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= 9


def _instant(milliseconds: int) -> datetime | None:
    return _EPOCH + timedelta(milliseconds=milliseconds) if milliseconds > 0 else None


def source_queue(text: str) -> str | None:
    """Return the queue of QUEUE/PARTITION/OFFSET (or of a step, QUEUE.pN/…), or None if the text has not that form."""
    parts = text.split("/")
    is_source = len(parts) == 3 and bool(parts[0]) and all(part.isdecimal() for part in parts[1:])
    return queue_of_source(parts[0]) if is_source else None
