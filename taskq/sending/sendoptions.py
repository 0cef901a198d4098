"""The options of sending a task, and the refusal of those that do not exist."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from taskq.errors import EncodeError, InvalidArguments, UnknownOption
from taskq.message import LONGEST_ID, PROTOCOL_HEADERS, is_task_id
from taskq.near import nearest
from taskq.queues import check_queue
from taskq.timing.delays import AT_ONCE, When, when
from taskq_kafka.steps import HIGHEST, LOWEST

SEND_OPTIONS = ("countdown", "eta", "expires", "headers", "key", "priority", "queue", "task_id")

RETRY_OPTIONS = (
    "autoretry_for",
    "default_retry_delay",
    "key_hold",
    "dont_autoretry_for",
    "max_retries",
    "retry_backoff",
    "retry_backoff_max",
    "retry_jitter",
)

LIMIT_OPTIONS = ("rate_limit", "soft_time_limit", "time_limit")
"""Options of `@task`, which Celery's users may look for among those of a call."""

ELSEWHERE = frozenset(
    [
        "add_to_parent",
        "chain",
        "chord",
        "compression",
        "connection",
        "exchange",
        "group_id",
        "ignore_result",
        "key_hold",
        "link",
        "link_error",
        "producer",
        "reply_to",
        "retries",
        "retry",
        "retry_kwargs",
        "retry_policy",
        "routing_key",
        "serializer",
        "shadow",
        "track_started",
    ]
)
"""What Celery's users write, and this version does not have: the error says so instead of guessing at another name."""


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How a task is sent."""

    task_id: str | None = None
    """None: a new UUIDv7."""

    queue: str | None = None
    """None: the task's own, else the default queue."""

    key: str | bytes | None = None
    """The record's key: tasks of one key run one at a time, in the order in which they were sent."""

    headers: Mapping[str, Any] | None = None

    countdown: float | None = None
    """Seconds until it is to run."""

    eta: datetime | None = None
    """Aware; when it is to run."""

    expires: float | datetime | None = None
    """Seconds, or an aware instant, after which it is not run any more."""

    priority: int | None = None
    """0 to 9, 9 first; None: the task's own, else 0."""

    def when(self, task: str, now: Callable[[], datetime]) -> When:
        """Return when a task is to run; asks for the time only if that is not at once.

        Raises:
            InvalidArguments: The options cannot be.
        """
        if self.countdown is None and self.eta is None and self.expires is None:
            return AT_ONCE
        return when(task, now(), countdown=self.countdown, eta=self.eta, expires=self.expires)

    def check(self, task: str) -> None:
        """Raise unless all can be sent.

        Raises:
            InvalidQueueName: For the queue.
            InvalidArguments: For an id or key of a wrong type.
            EncodeError: For a header whose name has a meaning already.
        """
        if self.queue is not None:
            check_queue(self.queue)
        if self.priority is not None:
            check_priority(task, self.priority)
        # The types say so already, to those who check them.
        id, headers = cast("tuple[Any, Any]", (self.task_id, self.headers))
        if id is not None and (not isinstance(id, str) or not is_task_id(id)):
            raise InvalidArguments(
                task,
                f"task_id must be printable text of at most {LONGEST_ID} characters, not {str(id)[:80]!r}",
                options=("task_id",),
            )
        if self.key is not None:
            _check_key(task, self.key)
        if headers is not None and not isinstance(headers, Mapping):
            raise InvalidArguments(
                task, f"headers must be a dict, not {type(headers).__name__}", options=("headers",)
            )
        for name in headers or ():
            if not isinstance(name, str):
                raise InvalidArguments(
                    task, f"names of headers are text, not {name!r}", options=("headers",)
                )
            if name in PROTOCOL_HEADERS:
                raise EncodeError(task, f"header {name!r}", "the message protocol has that name")

    @property
    def key_bytes(self) -> bytes | None:
        """The key as it stands on the record."""
        return self.key.encode() if isinstance(self.key, str) else self.key


DEFAULT = SendOptions()


def check_priority(task: str, priority: object) -> int:
    """Return a priority if it is one.

    Raises:
        InvalidArguments: It is not.
    """
    if type(priority) is not int or not LOWEST <= priority <= HIGHEST:
        wanted = f"a whole number from {LOWEST} to {HIGHEST}, {HIGHEST} first"
        raise InvalidArguments(
            task, f"priority must be {wanted}, not {repr(priority)[:80]}", options=("priority",)
        )
    return priority


def _check_key(task: str, key: Any) -> None:
    if not isinstance(key, (str, bytes)):
        raise InvalidArguments(task, f"key must be text or bytes, not {key!r}", options=("key",))
    if not key:
        raise InvalidArguments(
            task,
            "key is empty, which some clients write for none: leave it out, or give it a value",
            options=("key",),
        )
    if isinstance(key, str):
        try:
            key.encode()
        except UnicodeEncodeError:
            raise InvalidArguments(
                task,
                f"key {key!r} is text that UTF-8 cannot write; give it as bytes",
                options=("key",),
            ) from None


def refuse_unknown(unknown: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise for the first option that does not exist.

    Raises:
        UnknownOption: There is one.
    """
    for name in unknown:
        if name in RETRY_OPTIONS or name in LIMIT_OPTIONS:
            raise UnknownOption(name, where=where, belongs_to="@task")
        planned = name in ELSEWHERE
        raise UnknownOption(
            name, None if planned else nearest(name, known), where=where, planned=planned
        )
