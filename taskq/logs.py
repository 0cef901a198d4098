"""Logging: the one handler that taskq adds where an app has none, and the lines about finished tasks.

A line about a task is made where the task ran (`TaskLines`), because ten microseconds a line are too much for the one parent of
many children, and written by the parent in batches (`TaskLog`).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from taskq.clock import Clock, SystemClock
from taskq.jsonlogs import JsonFormatter, instant, json_line
from taskq_kafka.steps import queue_of_source

task_logger = logging.getLogger("taskq.worker.tasks")
"""Where the lines about finished tasks go."""

TASK_EVENTS = (
    "task.succeeded",
    "task.ignored",
    "task.failed",
    "task.retried",
    "task.requeued",
)
"""Events of lines about finished tasks, in the order of the executor's numbers for how a run ended."""

TEXT, JSON = "text", "json"
"""The values of the setting `log_format`."""

_SOURCES = {
    "taskq.worker": "worker",
    "taskq.scheduling.beat": "beat",
    "taskq.timing.hostthread": "shards",
    "taskq.scheduling.scheduleloader": "beat",
    "taskq.scheduling.scheduleshard": "beat",
    "taskq.scheduling.schedulesource": "beat",
    "taskq.scheduling.standby": "beat",
    "taskq.timing.timershard": "timers",
    "taskq_kafka": "kafka",
}
"""What stands in a line for a logger of ours and all below it."""


class TaskqFormatter(logging.Formatter):
    """`2026-11-24 03:10:12,123 INFO worker: text`, in local time."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(source)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record.source = _source(record.name)
        return super().format(record)


class TaskqHandler(logging.StreamHandler):  # type: ignore[type-arg]  # subscriptable at run time only from Python 3.11 on
    """Writes to stderr. A class of its own so that it can be recognized."""

    def __init__(self, form: str = TEXT) -> None:
        super().__init__(sys.stderr)
        self.use(form)

    def use(self, form: str) -> None:
        """Write `text` or `json` from now on."""
        self.form = form
        self.setFormatter(JsonFormatter() if form == JSON else TaskqFormatter())

    def write_lines(self, lines: Sequence[str]) -> None:
        """Write lines that are formatted already, with one write. Never raises."""
        self.acquire()
        try:
            if self.stream is not None:  # None: the process was started without a stderr
                self.stream.write("\n".join(lines) + "\n")
                self.flush()
        except Exception:  # noqa: BLE001 - a door to a stream that may be anything by now: gone, closed, the app's own
            pass  # as logging does: the worker goes on without its log
        finally:
            self.release()


@dataclass(frozen=True, slots=True)
class LogPlan:
    """How lines about tasks are made. Pickled to pool processes.

    Attributes:
        level: Of the root logger, as logging's numbers.
        task_level: From which level on lines about tasks are made at all.
        whole: Whether lines are complete, with time, level and source, because taskq's own handler writes them as they are.
        form: `text` or `json`, for taskq's own handler.
    """

    level: int
    task_level: int
    whole: bool
    form: str = TEXT


def configure_logging(level: int | str, form: str = TEXT) -> None:
    """Log to stderr, unless the app has given the root logger a handler: then all is left as the app wants it.

    Args:
        level: As logging knows it, a number or a name in any case.
        form: `text`, or `json` for one object a line.
    """
    root = logging.getLogger()
    ours = _ours()
    if root.handlers and not ours:
        return
    for handler in ours:
        handler.use(form)
    if not root.handlers:
        root.addHandler(TaskqHandler(form))
    root.setLevel(level.upper() if isinstance(level, str) else level)


def _ours() -> list[TaskqHandler]:
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if isinstance(handler, TaskqHandler)]


def is_json() -> bool:
    """Return whether this process logs JSON, by taskq's own handler."""
    return any(handler.form == JSON for handler in _ours())


@contextmanager
def held_back() -> Iterator[None]:
    """Keep what taskq logs within the block, while settings and modules are read, until it is known how to log; then log it.

    Belongs to the main thread, before others are started.
    """
    logger = logging.getLogger("taskq")
    keeper = _Keeper()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(keeper)
    try:
        yield
    finally:
        logger.removeHandler(keeper)
        logger.propagate = propagate
        for record in keeper.records:
            source = logging.getLogger(record.name)
            if source.isEnabledFor(record.levelno):
                source.handle(record)


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record)


@contextmanager
def quiet_client() -> Iterator[None]:
    """Leave out what the Kafka client says while a start waits for a broker: the one error that may follow says the same.

    At level debug nothing is left out. Belongs to the main thread, before others are started.
    """
    logger = logging.getLogger("taskq_kafka")
    level = logger.level
    if not logger.isEnabledFor(logging.DEBUG):
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def log_failure(logger: logging.Logger, text: str, *args: object, extra: dict[str, str]) -> None:
    """Log the exception that is handled now, with its traceback, at level ERROR.

    Never raises, as `logger.exception` may: the app's own handlers can be what failed, and what comes after must happen.
    """
    with suppress(Exception):
        logger.exception(text, *args, extra=extra)


def plan_lines() -> LogPlan:
    """Return how lines about tasks are to be made, by what is configured in this process now."""
    return LogPlan(
        level=logging.getLogger().level,
        task_level=task_logger.getEffectiveLevel(),
        whole=_own_handler() is not None,
        form=JSON if is_json() else TEXT,
    )


def _own_handler() -> TaskqHandler | None:
    """Return taskq's handler if lines about tasks go to it and nowhere else."""
    logger: logging.Logger | None = task_logger
    while logger is not None and logger.parent is not None:
        if logger.handlers or logger.filters or not logger.propagate:
            return None
        logger = logger.parent
    handlers = logging.getLogger().handlers
    if len(handlers) != 1 or type(handlers[0]) is not TaskqHandler or handlers[0].filters:
        return None
    return handlers[0]


def _source(name: str) -> str:
    for prefix, source in _SOURCES.items():
        if name == prefix or name.startswith(f"{prefix}."):
            return source
    return name


class Placed(Protocol):
    """Where a message stood: a record, or the request of a run."""

    @property
    def queue(self) -> str:
        """The queue's name."""

    @property
    def partition(self) -> int:
        """The partition's number."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""


class TaskLines:
    """Makes lines about finished tasks. One thread at a time."""

    def __init__(self, plan: LogPlan, clock: Clock | None = None) -> None:
        self._info = plan.task_level <= logging.INFO
        self._warning = plan.task_level <= logging.WARNING
        self._error = plan.task_level <= logging.ERROR
        self._whole = plan.whole
        self._json = plan.whole and plan.form == JSON
        self._clock: Clock = clock or SystemClock()
        self._second = -1
        self._stamp = ""

    def succeeded(self, task: str, id: str, place: Placed, runtime: float) -> str | None:
        """Return the line of a run that returned, or None where INFO is not logged."""
        if not self._info:
            return None
        text = f"task {task}[{id}] succeeded in {runtime:.3f}s"
        if self._json:
            return self._object("INFO", TASK_EVENTS[0], text, _fields(task, id, place, runtime))
        return self._line("INFO", text)

    def ignored(self, task: str, id: str, place: Placed, runtime: float, reason: str) -> str | None:
        """Return the line of a run that raised `Ignore`."""
        if not self._info:
            return None
        why = f": {reason}" if reason else ""
        text = f"task {task}[{id}] ignored in {runtime:.3f}s{why}"
        if self._json:
            return self._object("INFO", TASK_EVENTS[1], text, _fields(task, id, place, runtime))
        return self._line("INFO", text)

    def failed(
        self,
        task: str,
        id: str,
        place: Placed,
        runtime: float,
        error: str,
        then: str,
        trace: str = "",
    ) -> str | None:
        """Return the line of a run that failed.

        Args:
            task: Its name.
            id: Its id.
            place: Where its message stood.
            runtime: Seconds.
            error: What went wrong; put on one line here.
            then: The consequence: `dead letter: taskq dlq show QUEUE/PARTITION/OFFSET`.
            trace: The traceback, which text leaves to the dead letter.
        """
        if not self._error:
            return None
        reason = " ".join(error.split())
        text = f"task {task}[{id}] failed in {runtime:.3f}s: {reason} ({then})"
        if not self._json:
            return self._line("ERROR", text)
        fields = {**_fields(task, id, place, runtime), "error": reason}
        if trace:
            fields["traceback"] = trace
        return self._object("ERROR", TASK_EVENTS[2], text, fields)

    def retried(
        self,
        task: str,
        id: str,
        place: Placed,
        runtime: float,
        error: str,
        *,
        wait: float,
        count: str,
        trace: str = "",
    ) -> str | None:
        """Return the line of a run that failed and is to be repeated.

        Args:
            task: Its name.
            id: Its id.
            place: Where its message stood.
            runtime: Seconds.
            error: What went wrong; put on one line here.
            wait: Seconds until it runs again.
            count: Which retry it will be: `2 of 3`.
            trace: The traceback, which text leaves out.
        """
        if not self._warning:
            return None
        reason = " ".join(error.split())
        text = f"task {task}[{id}] will be retried {_when(wait)} ({count}): {reason}"
        if not self._json:
            return self._line("WARNING", text)
        fields = {**_fields(task, id, place, runtime), "error": reason, "wait": round(wait, 3)}
        if trace:
            fields["traceback"] = trace
        return self._object("WARNING", TASK_EVENTS[3], text, fields)

    def requeued(
        self, task: str, id: str, place: Placed, runtime: float, reason: str, *, wait: float
    ) -> str | None:
        """Return the line of a run that put its message back to the queue; `wait` are the seconds until it is there."""
        if not self._warning:
            return None
        why = f": {reason}" if reason else ""
        text = f"task {task}[{id}] goes back to its queue {_when(wait)}{why}"
        if not self._json:
            return self._line("WARNING", text)
        fields = {**_fields(task, id, place, runtime), "wait": round(wait, 3)}
        return self._object("WARNING", TASK_EVENTS[4], text, fields)

    def _line(self, level: str, text: str) -> str:
        if not self._whole:
            return text
        now = self._clock.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._stamp},{int((now - second) * 1000):03d} {level} worker: {text}"

    def _object(self, level: str, event: str, text: str, fields: Mapping[str, object]) -> str:
        at = instant(self._clock.time())
        return json_line(at, level, task_logger.name, text, {"event": event, **fields})


def _when(seconds: float) -> str:
    """Return when, counted from now, as people say it."""
    if not seconds:
        return "at once"
    text = f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.3g}"
    return f"in {text} s"


def _fields(task: str, id: str, place: Placed, runtime: float) -> dict[str, object]:
    return {
        "task": task,
        "id": id,
        "queue": queue_of_source(place.queue),
        "partition": place.partition,
        "offset": place.offset,
        "runtime": round(runtime, 6),
    }


class Subject(Protocol):
    """What a line is about."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """`task`, `id`, `queue`, `partition`, `offset`."""


TaskLine = tuple[int, str, str, Subject]
"""Level, event, text, and the task."""


class TaskLog:
    """Writes lines about finished tasks. Any thread may use it."""

    def __init__(self, plan: LogPlan) -> None:
        self._handler = _own_handler() if plan.whole else None

    def write(self, lines: Sequence[TaskLine]) -> None:
        """Write lines made by `TaskLines` with the same plan. A whole line needs nothing but its text."""
        if not lines:
            return
        if self._handler is not None:
            self._handler.write_lines([line[2] for line in lines])
            return
        for level, event, text, subject in lines:
            task_logger.log(level, "%s", text, extra={"event": event, **subject.fields})
