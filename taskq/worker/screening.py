"""What is to be done with a fetched record, by its headers alone: before the claim. Pure."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime

from taskq.errors import DecodeError, UnknownTask
from taskq.message import Envelope, Formats, identify, read_headers
from taskq.protocols import Record
from taskq.registry import Registry
from taskq.running.limits import limits_of
from taskq.worker.delivery import Delivery


@dataclass(frozen=True, slots=True)
class Refused:
    """It cannot be run: to the dead letters, then settled."""

    record: Record
    envelope: Envelope | None
    """None where not even its task and id can be read."""

    reason: str
    error: str
    is_wanted: bool = True
    """Whether its task wants a dead letter of it; else it is settled without."""


@dataclass(frozen=True, slots=True)
class Expired:
    """Its time to be run has passed: settled, not run."""

    record: Record
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Early:
    """Its `eta` has not come: moved to the timers."""

    record: Record
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Revoked:
    """It was revoked: settled, not run."""

    record: Record
    envelope: Envelope


Verdict = Delivery | Refused | Expired | Early | Revoked


class Screen:
    """Decides by an app's tasks. Any thread may use it."""

    def __init__(
        self, registry: Registry, formats: Formats, revoked: Container[str] = frozenset()
    ) -> None:
        """Prepare.

        Args:
            registry: What can be run.
            formats: What may be read.
            revoked: Ids of tasks that are not to be run; it may change.
        """
        self._registry = registry
        self._formats = formats
        self._revoked = revoked

    def judge(self, record: Record, now: datetime) -> Verdict:
        """Return what is to be done with a record.

        Args:
            record: As fetched.
            now: The present instant, aware.
        """
        envelope: Envelope | None = None
        try:
            envelope = read_headers(record, self._formats)
            if record.offset_expired:
                return Refused(record, envelope, "offset_expired", _OFFSET_EXPIRED)
            if envelope.id in self._revoked:
                return Revoked(record, envelope)
            if envelope.is_expired(now):
                return Expired(record, envelope)
            if envelope.is_early(now):
                return Early(record, envelope)
            task = self._registry.find(envelope.task, record.queue)
        except DecodeError as error:
            return Refused(record, identify(record), error.reason, error.why)
        except UnknownTask as error:
            return Refused(record, envelope, "unknown_task", str(error))
        except Exception as error:  # noqa: BLE001 - a door to foreign input
            # Hostile headers: whatever a decoder raises, the record goes to the dead letters and the intake lives.
            return Refused(record, envelope, "unreadable", f"{type(error).__name__}: {error}"[:500])
        if record.deaths and task.acks_late and record.deaths >= task.max_deliveries:
            why = _WORKER_DIED.format(record.deaths, "es" if record.deaths > 1 else "")
            return Refused(record, envelope, "worker_died", why, task.dead_letter)
        limits = limits_of(task.limits, envelope.headers.get("timelimit"))
        hard = None if limits is None else limits.hard
        return Delivery(record, envelope, task.name, late=task.acks_late, time_limit=hard)


_WORKER_DIED = "{} process{} died while running it, with nothing else at work there"


_OFFSET_EXPIRED = (
    "the group's offsets were gone, and the record is so old that an earlier worker may have run it"
)
