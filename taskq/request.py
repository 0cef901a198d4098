"""The message that is running, as a task sees it: `Request`, `Context`, `current_request`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar, Token
from datetime import datetime
from typing import Any, NoReturn

from taskq.message import Envelope
from taskq.outcome import Retry
from taskq.sending.sendoptions import refuse_unknown

_RETRY_OPTIONS = ("countdown", "eta", "exc", "max_retries")


class Request:
    """One message while it runs. Cheap to make; belongs to the run, any thread may read it."""

    __slots__ = (
        "_envelope",
        "deliveries",
        "group",
        "offset",
        "partition",
        "queue",
        "redelivered",
        "task",
    )

    def __init__(
        self,
        envelope: Envelope,
        *,
        task: str,
        queue: str = "",
        partition: int = -1,
        offset: int = -1,
        group: str = "",
        redelivered: bool = False,
        deliveries: int = 1,
    ) -> None:
        """Take what the worker knows of a delivery.

        Args:
            envelope: What the record's headers say.
            task: The name under which the task is registered; the message may have used an alias.
            queue: Empty where the task was called directly; then partition and offset are -1.
            partition: Kafka's.
            offset: The record's own.
            group: The consumer group, as Kafka knows it.
            redelivered: Whether it is known to have been delivered before.
            deliveries: How often it was delivered, as far as that is known; this time counts.
        """
        self._envelope = envelope
        self.task = task
        self.queue = queue
        self.partition = partition
        self.offset = offset
        self.group = group
        self.redelivered = redelivered
        self.deliveries = deliveries

    @property
    def id(self) -> str:
        """The task's id."""
        return self._envelope.id

    @property
    def retries(self) -> int:
        """How often it was tried before."""
        return self._envelope.retries

    @property
    def eta(self) -> datetime | None:
        """The instant it was not to be run before, in UTC."""
        return self._envelope.eta

    @property
    def expires(self) -> datetime | None:
        """The instant it was not to be run after, in UTC."""
        return self._envelope.expires

    @property
    def scheduled_for(self) -> datetime | None:
        """The planned instant of the schedule's occurrence that sent it, in UTC; None if none did."""
        text = self._envelope.headers.get("scheduled_for")
        try:
            return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
        except (ValueError, AttributeError):
            return None  # the header is a sender's own, not a schedule's

    @property
    def headers(self) -> Mapping[str, Any]:
        """All headers of the message by name."""
        return self._envelope.headers

    def __repr__(self) -> str:
        return f"<Request {self.task}[{self.id}] {self.queue}/{self.partition}/{self.offset}>"


class Context:
    """What a task with `bind=True` gets as its first argument."""

    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request = request

    def retry(
        self,
        *,
        exc: BaseException | None = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        max_retries: int | None = None,
        **unknown: NoReturn,
    ) -> NoReturn:
        """End this run, and have the task run again later; if no retry is left, it goes to the dead letters.

        Where the task was called directly, outside of a worker, the error itself is raised.

        Args:
            exc: The error that stands in log and dead letter; by default the one that is being handled.
            countdown: Seconds until it is to run; by default as the options of `@task` say.
            eta: When it is to run, with a time zone.
            max_retries: How many retries there may be; by default as many as `@task` says.
            unknown: Raises `UnknownOption`.

        Raises:
            Retry: Always: it must not be caught.
        """
        refuse_unknown(unknown, _RETRY_OPTIONS, "retry")
        error = exc or sys.exc_info()[1]
        if not self.request.queue and error is not None:
            raise error
        raise Retry(exc=error, countdown=countdown, eta=eta, max_retries=max_retries)

    def __repr__(self) -> str:
        return f"<Context {self.request!r}>"


_current: ContextVar[Request | None] = ContextVar("taskq_request", default=None)


def current_request() -> Request | None:
    """Return the message that runs in this thread or asyncio task; None outside of a worker's run."""
    return _current.get()


def enter(request: Request) -> Token[Request | None]:
    """Make a request the current one; give what this returns to `leave`."""
    return _current.set(request)


def leave(token: Token[Request | None]) -> None:
    """Undo `enter`."""
    _current.reset(token)
