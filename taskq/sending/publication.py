"""A task on its way to the broker, as the hooks of publishing see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from taskq.result import AsyncResult
from taskq.sending.sendoptions import SendOptions
from taskq.timing.delays import When


@dataclass(frozen=True, eq=False)
class Publication:
    """One task that is being sent. `before_publish` and `after_publish` get the same object, so it can be a key of a dict."""

    task: str
    """Its name."""

    id: str
    """The task's id."""

    queue: str
    """Where it goes."""

    args: Sequence[Any] = ()
    """Positional arguments, as the sender gave them. Not to be changed."""

    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments, as the sender gave them. Not to be changed."""

    headers: dict[str, Any] = field(default_factory=dict)
    """The sender's own headers, without those of the message protocol. `before_publish` may change them, to what JSON can hold."""

    key: str | bytes | None = None
    """The record's key."""

    eta: datetime | None = None
    """Not to be run before, in UTC; None: at once."""

    expires: datetime | None = None
    """Not to be run after, in UTC."""

    priority: int = 0
    """0 to 9, 9 first."""

    is_followup: bool = False
    """Whether no code sends it, but a worker, because a message of a Celery client asks for it (its chain, callbacks, errbacks).

    `before_publish` is then called in the run that it follows, in its process; `after_publish` is not.
    """

    @classmethod
    def of(
        cls,
        result: AsyncResult[Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: SendOptions,
        time: When,
        priority: int = 0,
    ) -> Publication:
        """Return the publication of one call.

        Args:
            result: What the sender gets for it.
            args: Positional arguments.
            kwargs: Keyword arguments.
            options: How it is sent.
            time: When it is to run.
            priority: What it is sent with.
        """
        return cls(
            result.task,
            result.id,
            result.queue,
            tuple(args),
            MappingProxyType(dict(kwargs)),
            dict(options.headers or {}),
            options.key,
            time.eta,
            time.expires,
            priority=priority,
        )
