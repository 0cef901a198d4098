"""What to send after a task has run: the callbacks, errbacks and chain of a Celery message. Pure.

A signature is Celery 5's dict: `task`, `args`, `kwargs`, `options`, `subtask_type`, `immutable`. What cannot be sent on (a chord,
something that is to wait) is refused before the task runs: `check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from taskq.errors import DecodeError, InvalidQueueName
from taskq.queues import check_queue
from taskq_kafka.steps import clamped

_CARRIED = {
    "shadow": "shadow",
    "group_id": "group",
    "group_index": "group_index",
    "ignore_result": "ignore_result",
    "retries": "retries",
}
"""Options of a signature that are headers of the message, and their names there."""

_WAITING = ("countdown", "eta")
_EMBEDDED = ("callbacks", "errbacks", "chain")
_DEEPEST = 50  # signatures within signatures; Celery's own nest two or three deep


@dataclass(frozen=True, slots=True)
class Followup:
    """A task to be sent after another has run."""

    task: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    task_id: str | None = None
    """None: a new one."""

    queue: str | None = None
    """None: the queue that the task's name leads to."""

    headers: Mapping[str, Any] = field(default_factory=dict)
    embed: Mapping[str, Any] | None = None
    priority: int | None = None
    """0 to 9; None: the task's own."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The task that has run, as what follows it names it."""

    id: str
    root_id: str
    now: datetime
    """From where an `expires` in seconds counts."""


def check(embed: Mapping[str, Any]) -> None:
    """Raise unless all of this can be sent on.

    Raises:
        DecodeError: `unsupported` for what this version cannot do, `unreadable` for what is no signature.
    """
    for name in embed:
        if name != "chord" and name not in _EMBEDDED and embed[name] is not None:
            raise DecodeError("unsupported", f"the body asks for {str(name)[:40]!r}")
    if embed.get("chord"):
        raise DecodeError("unsupported", "the task is part of a chord")
    for name in _EMBEDDED:
        for signature in _many(embed.get(name), name):
            _check_signature(signature, 0)
    _check_chain(_many(embed.get("chain"), "chain"))


def after_success(embed: Mapping[str, Any] | None, result: Any, parent: Parent) -> list[Followup]:
    """Return what to send after the task returned `result`: its callbacks, then the next of its chain.

    `embed` must have passed `check`. The result stands before each signature's own arguments unless it is immutable.
    """
    if not embed:
        return []
    followups: list[Followup] = []
    for signature in _many(embed.get("callbacks"), "callbacks"):
        followups += _sent(signature, (result,), [], parent)
    chain = list(_many(embed.get("chain"), "chain"))
    if chain:  # stored reversed: the last is the next
        followups += _sent(chain[-1], (result,), chain[:-1], parent)
    return followups


def after_failure(embed: Mapping[str, Any] | None, parent: Parent) -> list[Followup]:
    """Return what to send after the task failed for good: its errbacks, each with the failed task's id before its arguments.

    That is Celery's form for errbacks which the failing worker does not have at hand; the exception itself is not passed.
    """
    if not embed:
        return []
    followups: list[Followup] = []
    for signature in _many(embed.get("errbacks"), "errbacks"):
        followups += _sent(signature, (parent.id,), [], parent)
    return followups


def _sent(
    signature: Mapping[str, Any], given: tuple[Any, ...], chain: Sequence[Any], parent: Parent
) -> Iterator[Followup]:
    """Return the messages of one signature; `chain` (reversed) follows the last of them."""
    kind = signature.get("subtask_type")
    if kind and signature.get("immutable"):
        given = ()
    if kind == "chain":
        tasks = [_inherit(task, signature) for task in signature["kwargs"]["tasks"]]
        rest = [*chain, *reversed(tasks[1:])]
        yield from _sent(tasks[0], given, rest, parent)
    elif kind == "group":
        for task in signature["kwargs"]["tasks"]:
            yield from _sent(_inherit(task, signature), given, chain, parent)
    else:
        yield _one(signature, given, chain, parent)


def _one(
    signature: Mapping[str, Any], given: tuple[Any, ...], chain: Sequence[Any], parent: Parent
) -> Followup:
    options = signature.get("options") or {}
    own = tuple(signature.get("args") or ())
    headers = {name: options[key] for key, name in _CARRIED.items() if options.get(key) is not None}
    headers.update(options.get("headers") or {})
    headers.update(parent_id=parent.id, root_id=options.get("root_id") or parent.root_id)
    expires = options.get("expires")
    if expires is not None:
        headers["expires"] = _absolute(expires, parent.now)
    embed = {
        "callbacks": list(_many(options.get("link"), "link")) or None,
        "errbacks": list(_many(options.get("link_error"), "link_error")) or None,
        "chain": [*chain, *_many(options.get("chain"), "chain")] or None,
    }
    return Followup(
        task=signature["task"],
        args=own if signature.get("immutable") else (*given, *own),
        kwargs=dict(signature.get("kwargs") or {}),
        task_id=options.get("task_id"),
        queue=options.get("queue") or None,
        priority=_priority(options),
        headers=headers,
        embed=embed if any(embed.values()) else None,
    )


def _priority(options: Mapping[str, Any]) -> int | None:
    priority = options.get("priority")
    return None if priority is None else clamped(priority)


def _inherit(task: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a chain's or group's task with the errbacks, queue and priority that were given for the whole."""
    options = whole.get("options") or {}
    own = dict(task.get("options") or {})
    for name in ("queue", "priority"):
        if options.get(name) is not None and own.get(name) is None:
            own[name] = options[name]
    link_error = [
        *_many(own.get("link_error"), "link_error"),
        *_many(options.get("link_error"), "link_error"),
    ]
    if link_error:
        own["link_error"] = link_error
    return {**task, "options": own}


def _absolute(expires: Any, now: datetime) -> str:
    if isinstance(expires, (int, float)):
        return (now + timedelta(seconds=expires)).astimezone(timezone.utc).isoformat()
    return str(expires)


def _many(value: Any, name: str) -> Sequence[Any]:
    """Return signatures as a list; Celery writes one alone, too."""
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return (value,)
    if not isinstance(value, (list, tuple)):
        raise DecodeError("unreadable", f"{name} is no list of signatures")
    return value


def _check_signature(signature: Any, depth: int) -> None:
    if not isinstance(signature, Mapping) or not isinstance(signature.get("task"), str):
        raise DecodeError("unreadable", "a signature is no object with a 'task'")
    if depth > _DEEPEST:
        raise DecodeError("unreadable", "signatures are nested too deeply")
    kind = signature.get("subtask_type")
    if kind not in (None, "", "chain", "group"):
        raise DecodeError("unsupported", f"a {str(kind)[:40]} is to follow")
    args, kwargs = signature.get("args"), signature.get("kwargs")
    if not isinstance(args, (list, tuple, type(None))):
        raise DecodeError("unreadable", "a signature's args are no list")
    if not isinstance(kwargs, (Mapping, type(None))):
        raise DecodeError("unreadable", "a signature's kwargs are no object")
    if kind:
        _check_composed(kind, kwargs or {}, signature, depth)
    _check_options(signature.get("options"), depth)


def _check_composed(
    kind: str, kwargs: Mapping[str, Any], signature: Mapping[str, Any], depth: int
) -> None:
    tasks = kwargs.get("tasks")
    if not isinstance(tasks, (list, tuple)) or not tasks:
        raise DecodeError("unreadable", f"a {kind} has no tasks")
    options = signature.get("options")
    if isinstance(options, Mapping) and options.get("link"):
        # Celery makes a chord of these, which needs to know when all have ended.
        raise DecodeError("unsupported", f"a {kind} with a callback is to follow")
    for task in tasks:
        _check_signature(task, depth + 1)
    if kind == "chain":
        _check_chain(tasks[::-1])


def _check_chain(chain: Sequence[Any]) -> None:
    """Refuse a group that something follows; `chain` is reversed."""
    if any(signature.get("subtask_type") == "group" for signature in chain[1:]):
        raise DecodeError("unsupported", "a group within a chain is a chord")


def _check_options(options: Any, depth: int) -> None:
    if options is None:
        return
    if not isinstance(options, Mapping):
        raise DecodeError("unreadable", "a signature's options are no object")
    if options.get("chord"):
        raise DecodeError("unsupported", "a part of a chord is to follow")
    _check_values(options)
    for name in ("link", "link_error", "chain"):
        for signature in _many(options.get(name), name):
            _check_signature(signature, depth + 1)
    _check_chain(_many(options.get("chain"), "chain"))


def _check_values(options: Mapping[str, Any]) -> None:
    """Refuse options that are to wait, and values of wrong types."""
    for name in _WAITING:
        if options.get(name):
            raise DecodeError("unsupported", f"a task with {name} is to follow")
    for name in ("task_id", "queue", "root_id"):
        if not isinstance(options.get(name), (str, type(None))):
            raise DecodeError("unreadable", f"a signature's option {name} is no text")
    if options.get("queue"):
        try:
            check_queue(options["queue"])
        except InvalidQueueName as error:
            raise DecodeError("unreadable", f"a signature's {error}") from None
    if not isinstance(options.get("expires"), (str, int, float, type(None))):
        raise DecodeError("unreadable", "a signature's option expires is no instant")
    if not isinstance(options.get("headers"), (Mapping, type(None))):
        raise DecodeError("unreadable", "a signature's headers are no object")
