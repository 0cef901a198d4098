"""Logging: the one handler that taskq adds where an app has none, and the lines about finished tasks.

A line about a task is made where the task ran (`TaskLines`), because ten microseconds a line are too much for the one parent of
many children, and written by the parent in batches (`TaskLog`).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from taskq.clock import Clock, SystemClock

task_logger = logging.getLogger("taskq.worker.tasks")
"""Where the lines about finished tasks go."""

_SOURCES = {
    "taskq.worker": "worker",
    "taskq.beat": "beat",
    "taskq.schedulesource": "beat",
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

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(TaskqFormatter())

    def write_lines(self, lines: Sequence[str]) -> None:
        """Write lines that are formatted already, with one write."""
        self.acquire()
        try:
            self.stream.write("\n".join(lines) + "\n")
            self.flush()
        except OSError:
            pass  # as logging does with a stream that is gone: the worker goes on without its log
        finally:
            self.release()


@dataclass(frozen=True, slots=True)
class LogPlan:
    """How lines about tasks are made. Pickled to pool processes.

    Attributes:
        level: Of the root logger, as logging's numbers.
        task_level: From which level on lines about tasks are made at all.
        whole: Whether lines begin with time, level and source, because taskq's own handler writes them as they are.
    """

    level: int
    task_level: int
    whole: bool


def configure_logging(level: int | str) -> None:
    """Log to stderr, unless the app has given the root logger a handler: then all is left as the app wants it.

    Args:
        level: As logging knows it, a number or a name in any case.
    """
    root = logging.getLogger()
    if root.handlers and not any(isinstance(handler, TaskqHandler) for handler in root.handlers):
        return
    if not root.handlers:
        root.addHandler(TaskqHandler())
    root.setLevel(level.upper() if isinstance(level, str) else level)


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


def plan_lines() -> LogPlan:
    """Return how lines about tasks are to be made, by what is configured in this process now."""
    return LogPlan(
        level=logging.getLogger().level,
        task_level=task_logger.getEffectiveLevel(),
        whole=_own_handler() is not None,
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


class TaskLines:
    """Makes lines about finished tasks. One thread at a time."""

    def __init__(self, plan: LogPlan, clock: Clock | None = None) -> None:
        self._info = plan.task_level <= logging.INFO
        self._error = plan.task_level <= logging.ERROR
        self._whole = plan.whole
        self._clock: Clock = clock or SystemClock()
        self._second = -1
        self._stamp = ""

    def succeeded(self, task: str, id: str, runtime: float) -> str | None:
        """Return the line of a run that returned, or None where INFO is not logged."""
        if not self._info:
            return None
        return self._line("INFO", f"task {task}[{id}] succeeded in {runtime:.3f}s")

    def ignored(self, task: str, id: str, runtime: float, reason: str) -> str | None:
        """Return the line of a run that raised `Ignore`."""
        if not self._info:
            return None
        why = f": {reason}" if reason else ""
        return self._line("INFO", f"task {task}[{id}] ignored in {runtime:.3f}s{why}")

    def failed(self, task: str, id: str, runtime: float, error: str, then: str) -> str | None:
        """Return the line of a run that failed.

        Args:
            task: Its name.
            id: Its id.
            runtime: Seconds.
            error: What went wrong; put on one line here.
            then: The consequence: `dead letter QUEUE/PARTITION/OFFSET`.
        """
        if not self._error:
            return None
        text = " ".join(error.split())
        return self._line("ERROR", f"task {task}[{id}] failed in {runtime:.3f}s: {text} ({then})")

    def _line(self, level: str, text: str) -> str:
        if not self._whole:
            return text
        now = self._clock.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._stamp},{int((now - second) * 1000):03d} {level} worker: {text}"


class TaskLog:
    """Writes lines about finished tasks. Any thread may use it."""

    def __init__(self, plan: LogPlan) -> None:
        self._handler = _own_handler() if plan.whole else None

    def write(self, lines: Sequence[tuple[int, str, str]]) -> None:
        """Write lines made by `TaskLines` with the same plan.

        Args:
            lines: Level, event and text of each. A whole line needs level and event no more.
        """
        if not lines:
            return
        if self._handler is not None:
            self._handler.write_lines([text for _, _, text in lines])
            return
        for level, event, text in lines:
            task_logger.log(level, "%s", text, extra={"event": event})
