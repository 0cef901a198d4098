"""A function registered under a name, and the ways to send it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

from taskq.arguments import ArgumentCheck, check_shape
from taskq.errors import InvalidArguments, InvalidSchedule
from taskq.message import Envelope, Format, new_task_id, new_task_ids
from taskq.protocols import Outgoing
from taskq.queues import check_queue
from taskq.request import Context, Request, current_request
from taskq.result import AsyncResult
from taskq.retry import (
    BACKOFF_MAX,
    MAX_RETRIES,
    RETRY_DELAY,
    Exceptions,
    retry_policy,
)
from taskq.running.limits import Rate, check_rate_limit, check_time_limits
from taskq.sending.plainsend import PlainSend
from taskq.sending.publication import Publication
from taskq.sending.publishing import Sending
from taskq.sending.sendoptions import (
    DEFAULT,
    LIMIT_OPTIONS,
    RETRY_OPTIONS,
    SEND_OPTIONS,
    SendOptions,
    check_priority,
    refuse_unknown,
)
from taskq.timing.shards import Write
from taskq_kafka.steps import source_of

if TYPE_CHECKING:
    from taskq.scheduling.schedule import ScheduleEntry

P = ParamSpec("P")
C = TypeVar("C", covariant=True)
R = TypeVar("R", covariant=True)
T = TypeVar("T")

Prepared = tuple[Outgoing | Write, AsyncResult[R]]
"""One call, written, and what its sender gets."""

TASK_OPTIONS = (
    "acks_late",
    "aliases",
    "args",
    "bind",
    "cron",
    "dead_letter",
    "dialect",
    "kwargs",
    "max_deliveries",
    "name",
    "priority",
    "queue",
    "timezone",
    *LIMIT_OPTIONS,
    *RETRY_OPTIONS,
)

MAX_DELIVERIES = 5
"""Processes that may die while they run one message, before it goes to the dead letters: the default."""


_LONGEST_SHOWN = 80
"""Characters of a wrong value in an error."""

_SOME_INSTANT = datetime(2000, 1, 1, tzinfo=timezone.utc)
"""From which options are counted that are only looked at: whether they can be does not depend on it."""


class Sender(Protocol):
    """What a task needs of its app. Any thread may call it."""

    @property
    def default_queue(self) -> str:
        """Queue of tasks that name none."""

    @property
    def format(self) -> Format:
        """How arguments are written."""

    def now(self) -> datetime:
        """Return the present instant by the broker's clock, aware, in UTC."""

    def sending(self) -> Sending | None:
        """Return what calls the hooks of publishing for one send; None where there are none."""

    def publish(
        self, messages: Sequence[Outgoing | Write], results: Sequence[AsyncResult[Any]]
    ) -> None:
        """Write messages and wait for the broker's acknowledgement of each; raises PublishFailed."""

    def revoke(self, *ids: str, terminate: bool = False) -> None:
        """Have tasks not run, or ended if they run."""


class Task(Generic[P, C, R]):
    """A task: calling it runs its function here and now, `delay` sends it to a worker.

    `P` are its arguments (without the context of `bind=True`), `C` what a call returns, `R` what it returns in a worker: for
    `async def` functions `C` is the coroutine. Any thread may use it.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        app: Sender,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        queue: str | None = None,
        bind: bool = False,
        dead_letter: bool = True,
        acks_late: bool = False,
        max_deliveries: int | None = None,
        autoretry_for: Exceptions = (),
        dont_autoretry_for: Exceptions = (),
        max_retries: int | None = MAX_RETRIES,
        retry_backoff: bool | float = False,
        retry_backoff_max: float = BACKOFF_MAX,
        retry_jitter: bool = True,
        default_retry_delay: float = RETRY_DELAY,
        key_hold: float | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        dialect: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        rate_limit: Rate | None = None,
        priority: int = 0,
    ) -> None:
        """Take a function; users write `@task` instead.

        Args:
            fn: The function.
            app: Where it is registered and sent from.
            name: None: `MODULE.FUNCTION`.
            aliases: Further names under which messages for it may come.
            queue: None: the default queue.
            bind: Whether it takes a `Context` first.
            dead_letter: Whether a run that failed for good goes to the dead letters.
            acks_late: Whether a message is settled after its run instead of before: it runs again if its worker dies.
            max_deliveries: How many processes may die while they run one message; None: 5. Only with `acks_late`.
            autoretry_for: Errors after which it runs again.
            dont_autoretry_for: Those of them, or below them, after which it does not.
            max_retries: How often it may run again; None: without end.
            retry_backoff: Seconds before the first retry, doubled for each that follows; True: 1; False: `default_retry_delay`.
            retry_backoff_max: Seconds to which the backoff grows.
            retry_jitter: Whether a random part of the backoff is waited instead of all of it.
            default_retry_delay: Seconds before a retry without backoff.
            key_hold: Seconds that retries of a message with a key hold up the others of its key at most; None: as the setting says.
            cron: When beat is to send it; None: never.
            timezone: Zone of `cron`; None: UTC.
            dialect: What `cron` is written in; None: `auto`.
            args: Positional arguments that beat sends.
            kwargs: Keyword arguments that beat sends.
            time_limit: Seconds after which a run is ended.
            soft_time_limit: Seconds after which `SoftTimeLimitExceeded` is raised in it.
            rate_limit: How often it may start in each worker.
            priority: 0 to 9, 9 first: what it is sent with unless a call says otherwise.

        Raises:
            InvalidArguments: A name, a limit, a priority, or what is said of deliveries or retries, is not usable, or arguments
                for beat do not fit.
            InvalidQueueName: For the queue.
            InvalidSchedule: For `cron` and what belongs to it.
        """
        self.fn = fn
        self.name = check_task_name(name if name is not None else default_name(fn))
        self.aliases = tuple(check_task_name(alias) for alias in _names(aliases))
        self.bind = self._flag("bind", bind)
        self.dead_letter = self._flag("dead_letter", dead_letter)
        self.acks_late = self._flag("acks_late", acks_late)
        self.max_deliveries = self._checked_limit(max_deliveries)
        self.retry_policy = retry_policy(
            self.name,
            autoretry_for=autoretry_for,
            dont_autoretry_for=dont_autoretry_for,
            max_retries=max_retries,
            retry_backoff=retry_backoff,
            retry_backoff_max=retry_backoff_max,
            retry_jitter=retry_jitter,
            default_retry_delay=default_retry_delay,
            key_hold=key_hold,
        )
        self.limits = check_time_limits(self.name, time_limit, soft_time_limit)
        self.rate = check_rate_limit(self.name, rate_limit)
        self.is_async = inspect.iscoroutinefunction(fn)
        self._app = app
        self._queue = None if queue is None else check_queue(queue)
        self.priority = check_priority(self.name, priority)
        self._arguments = ArgumentCheck(self.name, fn, bind=bind)
        self._plain: PlainSend | None = None
        self.schedule: ScheduleEntry | None = None
        """When beat sends it, if it was given a `cron`."""

        given = {"timezone": timezone, "dialect": dialect, "args": args, "kwargs": kwargs}
        given = {option: value for option, value in given.items() if value}
        if cron is not None:
            self.schedule = entry_of_task(self.name, cron, self._queue, given, self.priority)
            self._arguments.check(self.schedule.args, self.schedule.kwargs)
        elif given:
            raise InvalidArguments(self.name, f"{', '.join(given)} without cron: they are for beat")
        functools.update_wrapper(self, fn)

    def _flag(self, option: str, value: Any) -> bool:
        """Return a value that is True or False; `"no"` and 0 would mean something else to Python than to whoever wrote them."""
        if not isinstance(value, bool):
            raise InvalidArguments(
                self.name, f"{option} is True or False, not {repr(value)[:_LONGEST_SHOWN]}"
            )
        return value

    def _checked_limit(self, max_deliveries: object) -> int:
        if max_deliveries is None:
            return MAX_DELIVERIES
        if not self.acks_late:
            raise InvalidArguments(
                self.name, "max_deliveries needs acks_late=True: else a message is delivered once"
            )
        if type(max_deliveries) is not int or max_deliveries < 1:
            raise InvalidArguments(
                self.name, f"max_deliveries is a whole number from 1 on, not {max_deliveries!r}"
            )
        return max_deliveries

    @property
    def queue(self) -> str:
        """Where it is sent unless a call says otherwise."""
        return self._queue or self._app.default_queue

    @property
    def module(self) -> str:
        """The module of its function."""
        return str(self.fn.__module__)

    @property
    def place(self) -> str:
        """Where its function stands, `FILE:LINE`."""
        code = getattr(inspect.unwrap(self.fn), "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else self.module

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Run the function here and now."""
        return self.run(*args, **kwargs)  # type: ignore[no-any-return]  # fn is untyped inside

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function; the worker does it with the message as the current request."""
        if not self.bind:
            return self.fn(*args, **kwargs)
        return self.fn(Context(current_request() or self._direct_request()), *args, **kwargs)

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` unless the function can be called so."""
        self._arguments.check(args, kwargs)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task; returns when the broker has acknowledged it. Blocks, at most `publish_timeout` seconds.

        Raises:
            InvalidArguments: They do not fit the function.
            EncodeError: An argument cannot be serialized.
            PublishFailed: No acknowledgement; the task may have been sent.
        """
        return self.send(args, kwargs)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Do what `delay` does without blocking the event loop (in a thread of its default executor)."""
        import asyncio  # costs programs that never use it 30 ms

        return await asyncio.to_thread(self.send, args, kwargs)

    def delay_many(self, calls: Iterable[Sequence[Any]]) -> list[AsyncResult[R]]:
        """Send many calls of the task with one wait for all; blocks as `delay` does.

        Args:
            calls: The positional arguments of each, as tuples or lists.

        Raises:
            InvalidArguments: Those of one do not fit; nothing was sent.
            EncodeError: One of them cannot be serialized; nothing was sent.
            PublishFailed: Some were not acknowledged: `.sent`, `.failed`.
        """
        return self.send_many(calls)

    def apply_async(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        task_id: str | None = None,
        queue: str | None = None,
        key: str | bytes | None = None,
        headers: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        expires: float | datetime | None = None,
        priority: int | None = None,
        **unknown: NoReturn,
    ) -> AsyncResult[R]:
        """Send the task with options; blocks and raises as `delay` does.

        A task that is to wait is kept by Kafka, not by a worker: it runs also if all processes end meanwhile, and never early.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.
            task_id: None: a new UUIDv7.
            queue: None: the task's own.
            key: Tasks of one key run one at a time, in the order in which they were sent. Text or bytes, not empty.
            headers: Further headers, with values that JSON can hold.
            countdown: Seconds until it is to run.
            eta: When it is to run, with a time zone; one that has passed means now.
            expires: Seconds from now, or an instant with a time zone, after which it is not run any more.
            priority: 0 to 9, 9 first; None: the task's own.
            unknown: Raises `UnknownOption`.
        """
        refuse_unknown(unknown, ("args", "kwargs", *SEND_OPTIONS), "apply_async")
        kwargs = {} if kwargs is None else kwargs
        check_shape(self.name, args, kwargs)
        options = SendOptions(task_id, queue, key, headers, countdown, eta, expires, priority)
        return self.send(args, kwargs, options)

    def options(
        self,
        *,
        task_id: str | None = None,
        queue: str | None = None,
        key: str | bytes | None = None,
        headers: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        expires: float | datetime | None = None,
        priority: int | None = None,
        **unknown: NoReturn,
    ) -> Call[P, R]:
        """Return this task with options for sending it: `task.options(queue="q").delay(...)`; see `apply_async`.

        What cannot be is refused here, before there is a call.
        """
        refuse_unknown(unknown, SEND_OPTIONS, "options")
        given = SendOptions(task_id, queue, key, headers, countdown, eta, expires, priority)
        given.check(self.name)
        given.when(self.name, lambda: _SOME_INSTANT)
        return Call(self, given)

    def send(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: SendOptions = DEFAULT
    ) -> AsyncResult[R]:
        """Send one call; `delay`, `apply_async` and `options` all end here."""
        sending = self._app.sending()
        if sending is not None:
            with sending:
                return self._send(args, kwargs, options, sending)
        return self._send(args, kwargs, options)

    def send_many(
        self, calls: Iterable[Sequence[Any]], options: SendOptions = DEFAULT
    ) -> list[AsyncResult[R]]:
        """Send many calls with one wait; `delay_many` ends here."""
        calls, sending = list(calls), self._app.sending()
        if sending is not None:
            with sending:
                return self._send_many(calls, options, sending)
        return self._send_many(calls, options)

    def _send(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: SendOptions,
        sending: Sending | None = None,
    ) -> AsyncResult[R]:
        self._arguments.check(args, kwargs)
        message, result = self._preparation(options, sending)(new_task_id(), args, kwargs)
        self._app.publish((message,), (result,))
        return result

    def _send_many(
        self,
        calls: Sequence[Sequence[Any]],
        options: SendOptions,
        sending: Sending | None = None,
    ) -> list[AsyncResult[R]]:
        messages: list[Outgoing | Write] = []
        results: list[AsyncResult[R]] = []
        prepare = self._preparation(options, sending)
        for args, id in zip(calls, new_task_ids(len(calls)), strict=True):
            if not isinstance(args, (tuple, list)):
                raise InvalidArguments(
                    self.name, f"delay_many takes tuples of arguments, not {type(args).__name__}"
                )
            self._arguments.check(args, {})
            message, result = prepare(id, args, {})
            messages.append(message)
            results.append(result)
        if messages:
            self._app.publish(messages, results)
        return results

    def _preparation(
        self, options: SendOptions, sending: Sending | None
    ) -> Callable[[str, Sequence[Any], Mapping[str, Any]], Prepared[R]]:
        """Return what writes the messages of one send; with hooks, it calls them first."""
        if options is DEFAULT and sending is None:
            return self._current_plain().message
        return functools.partial(self._prepare_with, options, sending)

    def _prepare_with(
        self,
        options: SendOptions,
        sending: Sending | None,
        id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Prepared[R]:
        """Write one call with options, or with hooks."""
        options.check(self.name)
        queue, id = options.queue or self.queue, options.task_id or id
        priority = self.priority if options.priority is None else options.priority
        time = options.when(self.name, self._app.now)
        result: AsyncResult[R] = AsyncResult(id, self.name, queue, revoke=self._app.revoke)
        own = options.headers or {}
        if sending is not None:
            own = sending.headers(Publication.of(result, args, kwargs, options, time, priority))
        headers = {**own, **time.headers}
        writer = self._current_plain().writer
        value, written = writer.write(id, args, kwargs, headers=headers, priority=priority)
        message = Outgoing(source_of(queue, priority), value, written, options.key_bytes)
        if time.eta is None:
            return message, result
        return time.outgoing(message, id, self._app.now()), result

    def _current_plain(self) -> PlainSend:
        """Return what its plain sends have in common under the app's present settings."""
        app, plain = self._app, self._plain
        queue, priority, format = self._queue or app.default_queue, self.priority, app.format
        if plain is None or not plain.is_for(queue, priority, format):
            self._plain = plain = PlainSend(
                self.name, queue, priority=priority, format=format, revoke=app.revoke
            )
        return plain

    def _direct_request(self) -> Request:
        """Return the request of a plain call outside of a worker."""
        envelope = Envelope(self.name, new_task_id(), "", "", None, None, {})
        return Request(envelope, task=self.name)

    def __reduce__(self) -> str:
        """Pickle by reference, as functions are."""
        return str(self.fn.__qualname__)

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"


class Call(Generic[P, R]):
    """A task with options for sending it."""

    __slots__ = ("_options", "_task")

    def __init__(self, task: Task[P, Any, R], options: SendOptions) -> None:
        self._task = task
        self._options = options

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task; see `Task.delay`."""
        return self._task.send(args, kwargs, self._options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task without blocking the event loop; see `Task.adelay`."""
        import asyncio  # as in Task.adelay

        return await asyncio.to_thread(self._task.send, args, kwargs, self._options)

    def delay_many(self, calls: Iterable[Sequence[Any]]) -> list[AsyncResult[R]]:
        """Send many calls with one wait; see `Task.delay_many`.

        Raises:
            InvalidArguments: With `task_id`, too: one id cannot name many tasks.
        """
        if self._options.task_id is not None:
            raise InvalidArguments(self._task.name, "one task_id cannot name many tasks")
        return self._task.send_many(calls, self._options)


class TaskDecorator(Protocol):
    """What `@task(...)` returns: makes a task of a function."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /
    ) -> Task[P, Coroutine[Any, Any, T], T]: ...
    @overload
    def __call__(self, fn: Callable[P, T], /) -> Task[P, T, T]: ...


class BoundTaskDecorator(Protocol):
    """What `@task(bind=True)` returns: makes a task of a function whose first argument is the context."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]], /
    ) -> Task[P, Coroutine[Any, Any, T], T]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Context, P], T], /) -> Task[P, T, T]: ...


def default_name(fn: Callable[..., Any]) -> str:
    """Return `MODULE.FUNCTION`, with the name under which a worker will import the program's main module."""
    module = str(getattr(fn, "__module__", None) or "")
    if module in ("__main__", "__mp_main__"):
        module = _main_name(module)
    return f"{module}.{getattr(fn, '__name__', type(fn).__name__)}"


def _main_name(module: str) -> str:
    main = sys.modules.get(module)
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name.removesuffix(".__main__"))
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else module


def entry_of_task(
    name: str, cron: str, queue: str | None, given: Mapping[str, Any], priority: int = 0
) -> ScheduleEntry:
    """Return the schedule of a task; its id is the task's name.

    Raises:
        InvalidSchedule: Something of it is wrong.
    """
    from taskq.scheduling.schedule import (
        read_entries,
    )  # the calendar costs 40 ms, and most programs have no schedule

    document = {"id": name, "task": name, "cron": cron, **given}
    if "args" in given:
        document["args"] = list(given["args"])
    if queue is not None:
        document["queue"] = queue
    if priority:
        document["priority"] = priority
    entries, problems = read_entries([document])
    if problems:
        why = "; ".join(f"{each.key}: {each.reason}" for each in problems)
        raise InvalidSchedule(str(cron), str(given.get("dialect", "auto")), f"task {name!r}: {why}")
    return entries[0]


def _names(names: Sequence[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else names


def check_task_name(name: object) -> str:
    """Return a task's name if it is one.

    Raises:
        InvalidArguments: It is not.
    """
    if isinstance(name, Task):
        raise InvalidArguments(name.name, "its name is wanted here; a task itself has .delay()")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise InvalidArguments(repr(name)[:80], "a task's name is printable text, not empty")
    return name
