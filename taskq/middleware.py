"""Hooks: objects with methods of certain names, called at certain points. A hook that raises is logged and loses no task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from taskq.outcome import Outcome
from taskq.request import Request
from taskq.sending.publication import Publication

logger = logging.getLogger(__name__)

PUBLISH_HOOKS = ("before_publish", "after_publish")
RUN_HOOKS = ("before_run", "after_run", "on_retry", "on_failure")
WORKER_HOOKS = (
    "worker_process_init",
    "worker_process_shutdown",
    "worker_ready",
    "worker_shutdown",
)


class PublishMiddleware(Protocol):
    """What a middleware may have for sending; all methods are optional.

    They are called in the thread that sends, in every process that has the app: also in a task that sends another. They are not
    called for what goes to Kafka without a call in Python: occurrences of schedules, the same message once more (a retry, a
    timer that has become due, a redriven dead letter). What a hook sends itself is sent without hooks.
    """

    def before_publish(self, publication: Publication) -> None:
        """Called when the arguments fit, before the message is written; may change `publication.headers`, and nothing else.

        Raising does not keep the task from being sent; what the hook did to the headers is undone then, and also if they
        cannot be written.
        """

    def after_publish(self, publication: Publication, error: BaseException | None) -> None:
        """Called once for each `before_publish` but those of follow-ups, with the same object.

        `error` is None when the broker has acknowledged the record; else it is what the sender gets, mostly `PublishFailed`:
        the task may have been sent.
        """


class RunMiddleware(Protocol):
    """What a middleware may have for runs and workers; all methods are optional.

    `before_run`, `after_run`, `on_retry` and `on_failure` are called in the thread, and with the current request, of the run.
    """

    def before_run(self, request: Request) -> None:
        """Called before the function; raising does not keep it from running."""

    def after_run(self, request: Request, outcome: Outcome) -> None:
        """Called after the function, whatever its outcome."""

    def on_retry(self, request: Request, error: BaseException) -> None:
        """Called when the function failed and the task runs again, before `after_run`, whose outcome says when."""

    def on_failure(self, request: Request, error: BaseException) -> None:
        """Called when the function failed for good, before `after_run`; not for `Ignore` and `Reject`."""

    def worker_process_init(self) -> None:
        """Called once in each process that runs tasks, before its first; raising ends the process."""

    def worker_process_shutdown(self) -> None:
        """Called in each such process when it ends in order."""

    def worker_ready(self) -> None:
        """Called in the worker's main process when it begins to take tasks."""

    def worker_shutdown(self) -> None:
        """Called in the worker's main process when its tasks have ended."""


class Hooks:
    """The methods of some middleware, by name. Any thread may use it."""

    def __init__(self, middleware: Iterable[object]) -> None:
        """Collect the methods, in the order of the objects."""
        found = list(middleware)
        self._methods: dict[str, tuple[Callable[..., Any], ...]] = {
            name: tuple(getattr(one, name) for one in found if callable(getattr(one, name, None)))
            for name in (*PUBLISH_HOOKS, *RUN_HOOKS, *WORKER_HOOKS)
        }

    def has(self, name: str) -> bool:
        """Return whether any object has the method."""
        return bool(self._methods[name])

    def methods(self, name: str) -> tuple[Callable[..., Any], ...]:
        """Return all methods of a name, in the order of the objects."""
        return self._methods[name]

    def call(self, name: str, *arguments: Any) -> None:
        """Call all methods of a name; what one raises is logged, the others are called all the same.

        That is so for SystemExit and KeyboardInterrupt, too: a hook around a task is not asked whether its process is to end.
        """
        for method in self._methods[name]:
            try:
                method(*arguments)
            except BaseException:  # noqa: BLE001 - around the user's hook
                log_hook_failure(name, method)

    def call_strictly(self, name: str, *arguments: Any) -> None:
        """Call all methods of a name; the first that raises ends it.

        Raises:
            HookFailed: With what it raised as the cause.
        """
        for method in self._methods[name]:
            try:
                method(*arguments)
            except BaseException as error:
                raise HookFailed(name, _owner(method), error) from error


class HookFailed(Exception):
    """A start hook raised. Does not leave the worker.

    Attributes:
        hook: Its name.
        owner: Whose method it is.
    """

    def __init__(self, hook: str, owner: str, error: BaseException) -> None:
        super().__init__(f"hook {hook} of {owner} raised {type(error).__name__}: {error}")
        self.hook = hook
        self.owner = owner


def log_hook_failure(name: str, method: Callable[..., Any]) -> None:
    """Log the exception that is handled now as that of a hook. Never raises: what comes after must happen."""
    what = "the task is sent" if name in PUBLISH_HOOKS else "the worker goes on"
    with suppress(Exception):
        logger.exception(
            "hook %s of %s raised; %s", name, _owner(method), what, extra={"event": "hook.failed"}
        )


def _owner(method: Callable[..., Any]) -> str:
    owner = getattr(method, "__self__", method)
    name = getattr(owner, "__qualname__", None) or type(owner).__qualname__
    return str(name)
