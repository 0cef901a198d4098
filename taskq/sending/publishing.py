"""Calling the hooks of publishing around a send, so that no hook can lose it.

Whoever has no such hooks pays for one look at an empty list (`App.sending`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any

from taskq.errors import EncodeError, PublishFailed
from taskq.message import PROTOCOL_HEADERS
from taskq.middleware import PUBLISH_HOOKS, Hooks, log_hook_failure
from taskq.sending.canvas import Followup
from taskq.sending.publication import Publication
from taskq_kafka.records import encode_headers

Caught = type[BaseException]
"""What a hook may raise without effect. A sender's KeyboardInterrupt and SystemExit are meant for its process: they go through."""

_in_hook: ContextVar[bool] = ContextVar("taskq_in_publish_hook", default=False)


def is_in_hook() -> bool:
    """Return whether a hook of publishing runs in this thread: what it sends is sent without hooks, or would be without end."""
    return _in_hook.get()


def publish_hooks(middleware: Sequence[object]) -> Hooks | None:
    """Return the hooks of an app, or None if none of them is of publishing."""
    hooks = Hooks(middleware)
    return hooks if any(hooks.has(name) for name in PUBLISH_HOOKS) else None


class Sending:
    """One send of one or many messages, as a block: at its end, also by an error, `after_publish` is called for each.

    Belongs to the sending thread.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._begun: list[Publication] = []

    def headers(self, publication: Publication) -> Mapping[str, Any]:
        """Call `before_publish` and return the message's own headers, which hooks may have changed.

        Called once for each message, in the order in which they are published.
        """
        self._begun.append(publication)
        return before_publish(self._hooks, publication)

    def __enter__(self) -> Sending:
        """Nothing is sent yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Call `after_publish` for all."""
        failed: Collection[int] = range(len(self._begun)) if error is not None else ()
        if isinstance(error, PublishFailed):
            failed = error.failed_positions
        for place, publication in enumerate(self._begun):
            for method in self._hooks.methods("after_publish"):
                with _guarded("after_publish", method, Exception):
                    method(publication, error if place in failed else None)


def followup_headers(hooks: Hooks, id: str, queue: str, followup: Followup) -> Mapping[str, Any]:
    """Return the headers of a message that follows a run, which `before_publish` of all middleware may have changed.

    Called in the run: nothing that a hook raises comes out.
    """
    protocol = {name: value for name, value in followup.headers.items() if name in PROTOCOL_HEADERS}
    own = {name: value for name, value in followup.headers.items() if name not in protocol}
    publication = Publication(
        followup.task,
        id,
        queue,
        followup.args,
        MappingProxyType(dict(followup.kwargs)),
        own,
        is_followup=True,
    )
    return {**before_publish(hooks, publication, caught=BaseException), **protocol}


def before_publish(
    hooks: Hooks, publication: Publication, *, caught: Caught = Exception
) -> Mapping[str, Any]:
    """Call `before_publish` of all middleware and return the headers; those of a hook that raised are as they were before it."""
    headers = publication.headers
    for method in hooks.methods("before_publish"):
        before = dict(headers)
        is_done = False
        with _guarded("before_publish", method, caught):
            method(publication)
            _check(publication.task, before, headers)
            is_done = True
        if not is_done:
            headers.clear()
            headers.update(before)
    return headers


@contextmanager
def _guarded(name: str, method: Callable[..., Any], caught: Caught) -> Iterator[None]:
    token = _in_hook.set(True)
    try:
        yield
    except caught:
        log_hook_failure(name, method)
    finally:
        _in_hook.reset(token)


def _check(task: str, before: Mapping[str, Any], headers: Mapping[Any, Any]) -> None:
    """Raise unless what a hook has changed can be written.

    Raises:
        EncodeError: For a header that cannot.
    """
    nothing = object()
    changed = {
        name: value for name, value in headers.items() if before.get(name, nothing) is not value
    }
    for name in changed:
        if not isinstance(name, str):
            raise EncodeError(task, f"header {name!r}", "names of headers are text")
        if name in PROTOCOL_HEADERS:
            raise EncodeError(task, f"header {name!r}", "the message protocol has that name")
    try:
        encode_headers(changed)
    except ValueError as error:
        raise EncodeError(task, "a header", str(error)) from error
