"""The app: settings, registered tasks, hooks and a broker. There is one default app; `App(...)` makes others."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Literal, NoReturn, TypeVar, overload

from taskq.arguments import check_shape
from taskq.broker import Broker, formats, written_format
from taskq.errors import PublishFailed, UnknownOption, UsageError
from taskq.message import Format, Formats, Writer, new_task_id
from taskq.middleware import PUBLISH_HOOKS, RUN_HOOKS, WORKER_HOOKS, Hooks
from taskq.near import nearest
from taskq.protocols import Outgoing
from taskq.queues import check_queue
from taskq.registry import Registry
from taskq.result import AsyncResult
from taskq.retry import BACKOFF_MAX, MAX_RETRIES, RETRY_DELAY, Exceptions
from taskq.running.limits import Rate
from taskq.sending.canvas import Followup
from taskq.sending.publication import Publication
from taskq.sending.publishing import Sending, is_in_hook, publish_hooks
from taskq.sending.sendoptions import SEND_OPTIONS, SendOptions, refuse_unknown
from taskq.settings import Layer, Settings, resolve
from taskq.sources import Sources, read_sources
from taskq.task import TASK_OPTIONS, BoundTaskDecorator, P, Task, TaskDecorator, check_task_name
from taskq.timing.delays import When
from taskq.timing.revocation import check_id, revoked_write
from taskq.timing.shards import Write
from taskq.timing.timers import cancel_write
from taskq_kafka.steps import source_of

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])


class App:
    """Tasks and settings that belong together. Made and filled while modules are imported; afterwards any thread may use it.

    Making one reads and connects nothing. Settings are read when they are first needed, the broker is connected by the first send.
    """

    def __init__(self, name: str | None = None, **settings: Any) -> None:
        """Make an app.

        Args:
            name: For people; `default` for the default app.
            settings: Weaker than flag, environment and file, stronger than the defaults.

        Raises:
            UnknownSetting: There is no such setting.
            InvalidSetting: A value cannot be taken.
        """
        self.name = name or "app"
        self.registry = Registry()
        self.middleware: list[object] = []
        self._publish_hooks: tuple[list[object], Hooks | None] = [], None
        self._code: dict[str, object] = {}
        self._sources: Sources | None = None
        self._settings: Settings | None = None
        self._format: Format | None = None
        self._formats: Formats | None = None
        # By process id. Those of a parent stay here after a fork: a child must neither use nor collect them.
        self._brokers: dict[int, Broker] = {}
        self._make_broker: Callable[[Settings], Broker] = Broker
        self.configure(**settings)

    def configure(self, **settings: Any) -> None:
        """Change settings in code; before the first task is sent.

        Raises:
            UnknownSetting: There is no such setting.
            InvalidSetting: A value cannot be taken.
            UsageError: The broker is in use already.
        """
        resolve([Layer("code", settings)])  # a mistake is reported where it was made
        self._refuse_if_connected()
        self._code.update(settings)
        self._forget_settings()

    def adopt(self, sources: Sources) -> None:
        """Take flags, environment and file as an entry point read them, in place of reading environment and file later.

        Raises:
            UsageError: The broker is in use already.
        """
        self._refuse_if_connected()
        self._sources = sources
        self._forget_settings()

    @contextmanager
    def standing_in(
        self, make_broker: Callable[[Settings], Broker], **flags: Any
    ) -> Iterator[None]:
        """Within the block use another broker and other settings; afterwards all is as it was. For tests: taskq/testing/.

        Tasks and middleware stay: a module that is imported within the block is not imported again after it.

        Args:
            make_broker: Makes the broker from the settings, when it is first used.
            flags: Settings that are stronger than flag, environment and file.
        """
        sources = (self._sources or read_sources()).with_flags(flags)
        before = self._sources, self._code, self._brokers, self._make_broker
        self._sources, self._code, self._brokers = sources, dict(self._code), {}
        self._make_broker = make_broker
        self._forget_settings()
        try:
            yield
        finally:
            self.close()
            self._sources, self._code, self._brokers, self._make_broker = before
            self._forget_settings()

    @property
    def settings(self) -> Settings:
        """The settings; the first call reads environment and file.

        Raises:
            UnknownSetting: In the file.
            InvalidSetting: In environment, file or code.
        """
        if self._settings is None:
            if self._sources is None:
                self._sources = read_sources()
            settings = self._sources.settings(self._code)
            check_queue(settings.default_queue, prefix=settings.prefix)
            self._settings = settings
        return self._settings

    @property
    def default_queue(self) -> str:
        """Queue of tasks that name none."""
        return self.settings.default_queue

    @property
    def format(self) -> Format:
        """How arguments are written."""
        if self._format is None:
            self._format = written_format(self.settings)
        return self._format

    @property
    def formats(self) -> Formats:
        """What may be read, by content type."""
        if self._formats is None:
            self._formats = formats(self.settings)
        return self._formats

    @property
    def broker(self) -> Broker:
        """The broker of this process; connects when it is first used."""
        pid = os.getpid()
        broker = self._brokers.get(pid)
        if broker is None:
            # One step under the interpreter's lock, so that two threads get one broker; a lock of ours could be held in a fork.
            broker = self._brokers.setdefault(pid, self._make_broker(self.settings))
        return broker

    @overload
    def task(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /
    ) -> Task[P, Coroutine[Any, Any, T], T]: ...
    @overload
    def task(self, fn: Callable[P, T], /) -> Task[P, T, T]: ...
    @overload
    def task(
        self,
        name: str | None = None,
        *,
        aliases: Sequence[str] = (),
        queue: str | None = None,
        bind: Literal[False] = False,
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
    ) -> TaskDecorator: ...
    @overload
    def task(
        self,
        name: str | None = None,
        *,
        aliases: Sequence[str] = (),
        queue: str | None = None,
        bind: Literal[True],
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
    ) -> BoundTaskDecorator: ...
    def task(self, name: Any = None, **options: Any) -> Any:
        """Register a function as a task: `@app.task`, `@app.task("name", queue="billing")`.

        Args:
            name: The task's name; default `MODULE.FUNCTION`.
            options: `aliases`: further names. `queue`: default the default queue. `bind`: whether the function takes a `Context`
                first. `dead_letter`: whether a run that failed for good goes to the dead letters. `acks_late`: whether a message is
                settled after its run, so that it runs again if its worker dies. `max_deliveries`: how many may die of it (5).
                `autoretry_for`: exception classes after which it runs again, but not after those of `dont_autoretry_for`;
                `max_retries` times at most (3; None: without end). `retry_backoff`: seconds before the first retry, doubled for
                each that follows, at most `retry_backoff_max` (600); True: 1; False, the default: `default_retry_delay` (180)
                before each. `retry_jitter`: whether a random part of the backoff is waited (the default), or all of it.
                `key_hold`: seconds that retries of a message with a key hold up the others of its key (default: the setting).
                `time_limit`: seconds after which a run is ended. `soft_time_limit`: seconds after which `SoftTimeLimitExceeded`
                is raised in it. `rate_limit`: how often it may start in each worker: `"10/s"`, `"100/m"`, `"5/h"`, or a number
                a second. `priority`: 0 to 9, 9 first (0). `cron`: when beat sends it, with `timezone` (default UTC), `dialect`
                (default auto), and `args` and `kwargs` for it.

        Raises:
            InvalidArguments: A limit is not usable.
            UnknownOption: There is no such option.
            DuplicateTask: Another function has the name.
            InvalidQueueName: For the queue.
            InvalidArguments: Another option cannot be.
            InvalidSchedule: For `cron` and what belongs to it.
            InvalidArguments: `args` and `kwargs` do not fit the function.
        """
        refuse_unknown(
            {option: value for option, value in options.items() if option not in TASK_OPTIONS},
            TASK_OPTIONS,
            "@task",
        )
        if callable(name):
            return self._register(name, options)
        return lambda fn: self._register(fn, {"name": name, **options})

    def on(self, event: str) -> Callable[[Function], Function]:
        """Register a function as a hook: `@app.on("worker_process_init")`; the short form of a middleware.

        Raises:
            UnknownOption: There is no such hook.
            UsageError: The function is an `async def`, which nobody would await.
        """
        known = (*PUBLISH_HOOKS, *RUN_HOOKS, *WORKER_HOOKS)
        if event not in known:
            raise UnknownOption(event, nearest(event, known), where="app.on")

        def register(fn: Function) -> Function:
            if inspect.iscoroutinefunction(fn):
                raise UsageError(
                    f"hook {event}: {fn.__name__} is an async def; hooks are plain functions"
                )
            self.middleware.append(SimpleNamespace(**{event: fn}))
            return fn

        return register

    def send_task(
        self,
        name: str,
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
    ) -> AsyncResult[Any]:
        """Send a task by its name, which need not be registered here; blocks and raises as `Task.delay` does.

        A task that is registered has its arguments checked and its queue; another goes to the default queue.

        Args:
            name: The task's name.
            args: Positional arguments.
            kwargs: Keyword arguments.
            task_id: None: a new UUIDv7.
            queue: None: the task's own, else the default queue.
            key: Tasks of one key run one at a time, in the order in which they were sent. Text or bytes, not empty.
            headers: Further headers, with values that JSON can hold.
            countdown: Seconds until it is to run.
            eta: When it is to run, with a time zone; one that has passed means now.
            expires: Seconds from now, or an instant with a time zone, after which it is not run any more.
            priority: 0 to 9, 9 first; None: the task's own.
            unknown: Raises `UnknownOption`.
        """
        refuse_unknown(unknown, ("args", "kwargs", "name", *SEND_OPTIONS), "send_task")
        kwargs = {} if kwargs is None else kwargs
        check_shape(check_task_name(name), args, kwargs)
        options = SendOptions(task_id, queue, key, headers, countdown, eta, expires, priority)
        options.check(name)
        time = options.when(name, self.now)
        task = self.registry.get(name)
        if task is not None:
            task.check_arguments(args, kwargs)
        if priority is None:
            priority = self.priority_of(name)
        result: AsyncResult[Any] = AsyncResult(
            task_id or new_task_id(), name, queue or self.queue_of(name), revoke=self.revoke
        )
        sending = self.sending()
        if sending is None:
            self._send(result, args, kwargs, options, time, headers or {}, priority)
            return result
        with sending:
            own = sending.headers(Publication.of(result, args, kwargs, options, time, priority))
            self._send(result, args, kwargs, options, time, own, priority)
        return result

    def _send(
        self,
        result: AsyncResult[Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: SendOptions,
        time: When,
        headers: Mapping[str, Any],
        priority: int,
    ) -> None:
        """Write one message and publish it."""
        further = {**headers, **time.headers}
        writer = Writer(result.task, self.format)
        value, written = writer.write(result.id, args, kwargs, headers=further, priority=priority)
        source = source_of(result.queue, priority)
        message = Outgoing(source, value, written, options.key_bytes)
        whole = time.outgoing(message, result.id, self.now()) if time.eta else message
        self.publish((whole,), (result,))

    def sending(self) -> Sending | None:
        """Return what calls the hooks of publishing for one send; None where there are none, and within such a hook."""
        if not self.middleware:
            return None
        middleware, hooks = self._publish_hooks
        if middleware != self.middleware:
            middleware = list(self.middleware)
            hooks = publish_hooks(middleware)
            self._publish_hooks = middleware, hooks
        return None if hooks is None or is_in_hook() else Sending(hooks)

    def now(self) -> datetime:
        """Return the present instant by the broker's clock, aware, in UTC: the system's, but on `memory://` that of the test."""
        return self.broker.clock.now()

    def revoke(self, *ids: str, terminate: bool = False) -> None:
        """Have tasks not run: those that wait for their time are cancelled, and for a day no worker begins them.

        A task that runs goes on, unless `terminate` is set. An id that nobody knows is taken: it counts for the day, too. Blocks
        until the broker has acknowledged all of it, at most twice `publish_timeout` seconds; workers hear of it a moment later.

        Args:
            ids: The tasks'.
            terminate: Whether a task that runs is ended, too: in a process by killing it, elsewhere by an exception in the task
                (`Terminated`, or the cancellation of a coroutine). It counts as revoked: no retry, no dead letter.

        Raises:
            UsageError: Something is no task's id.
            BrokerUnreachable: No broker answered; they may or may not be revoked.
            BrokerRefused: The logs of revocations and timers cannot be used.
        """
        now = self.now()
        revoked = [revoked_write(check_id(id), now, terminate=terminate) for id in ids]
        if not revoked:
            return
        # First what the workers read: a timer that leaves before it is cancelled is then known to be revoked.
        for writes in (revoked, [cancel_write(id, now) for id in ids]):
            with self.broker.errors():
                timeout = self.settings.publish_timeout
                errors = self.broker.logs.append(writes, timeout=timeout)
                for error in errors:
                    if error is not None:
                        raise error

    def outgoing(self, followup: Followup) -> Outgoing:
        """Return the record of a task that is to follow a run (canvas.py).

        Raises:
            EncodeError: The run's result cannot be serialized.
        """
        priority = self.priority_of(followup.task, followup.priority)
        value, headers = Writer(followup.task, self.format).write(
            followup.task_id or new_task_id(),
            followup.args,
            followup.kwargs,
            headers=followup.headers,
            embed=followup.embed,
            priority=priority,
        )
        queue = followup.queue or self.queue_of(followup.task)
        return Outgoing(source_of(queue, priority), value, headers)

    def queue_of(self, name: str) -> str:
        """Return the queue that a task's name leads to."""
        task = self.registry.get(name)
        return task.queue if task is not None else self.settings.default_queue

    def priority_of(self, name: str, given: int | None = None) -> int:
        """Return the priority that a task is sent with: what is given, else its own, else 0."""
        task = self.registry.get(name)
        return given if given is not None else task.priority if task is not None else 0

    def publish(
        self, messages: Sequence[Outgoing | Write], results: Sequence[AsyncResult[Any]]
    ) -> None:
        """Write messages and wait for the broker's acknowledgement of each.

        Raises:
            PublishFailed: Some were not acknowledged within `publish_timeout` seconds.
        """
        errors = self.broker.publish(messages)
        for error in errors:
            if error is not None:
                raise _publish_failed(errors, results) from error

    def close(self) -> None:
        """Close the broker of this process; a later send connects anew."""
        broker = self._brokers.pop(os.getpid(), None)
        if broker is not None:
            broker.close()

    def _register(self, fn: Callable[..., Any], options: Mapping[str, Any]) -> Task[Any, Any, Any]:
        task: Task[Any, Any, Any] = Task(fn, self, **options)
        self.registry.add(task)
        return task

    @property
    def is_connected(self) -> bool:
        """Whether this process has used the broker: then settings come too late."""
        return os.getpid() in self._brokers

    def _refuse_if_connected(self) -> None:
        if self.is_connected:
            raise UsageError(
                "settings come too late: the broker is in use; call configure() before the first task is sent"
            )

    def _forget_settings(self) -> None:
        self._settings = self._format = self._formats = None

    def __repr__(self) -> str:
        return f"<App {self.name!r} with {len(self.registry)} tasks>"


def _publish_failed(
    errors: Sequence[Exception | None], results: Sequence[AsyncResult[Any]]
) -> PublishFailed:
    failed = [place for place, error in enumerate(errors) if error is not None]
    first = results[failed[0]]
    return PublishFailed(
        first.id,
        first.queue,
        str(errors[failed[0]]),
        sent=[result for result, error in zip(results, errors, strict=True) if error is None],
        failed=[results[place] for place in failed],
        failed_positions=failed,
        maybe_sent=any(getattr(errors[place], "sent", None) is not False for place in failed),
    )


default_app = App("default")
"""The app of those who make none. The one mutable object of a module in this package."""

task = default_app.task
send_task = default_app.send_task
configure = default_app.configure
