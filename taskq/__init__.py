"""Background tasks with Apache Kafka as the only server: what programs use.

PYTEST_DONT_REWRITE (pytest would complain where this package is imported before it: the plugin is of the same distribution)
"""

from __future__ import annotations

from taskq import earlystop as _earlystop

_earlystop.begin()  # first of all; the command's own modules begin again

# ruff: noqa: E402
from taskq.app import App, configure, default_app, send_task, task
from taskq.errors import (
    AppNotFound,
    BrokerRefused,
    BrokerUnreachable,
    DecodeError,
    DuplicateTask,
    EncodeError,
    InvalidArguments,
    InvalidQueueName,
    InvalidSchedule,
    InvalidSetting,
    PublishFailed,
    ScheduleFileError,
    SoftTimeLimitExceeded,
    TaskqError,
    Terminated,
    TimeLimitExceeded,
    UnknownOption,
    UnknownSetting,
    UnknownTask,
    UsageError,
)
from taskq.outcome import Ignore, Reject, Retry
from taskq.request import Context, Request, current_request
from taskq.result import AsyncResult
from taskq.settings import Settings
from taskq.task import Task

_earlystop.end()

__version__: str


def __getattr__(name: str) -> str:
    """Return `__version__`, as the installed distribution has it."""
    if name == "__version__":
        from importlib import metadata  # costs every program 40 ms, and few ask

        return metadata.version("taskq-kafka")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "App",
    "AppNotFound",
    "AsyncResult",
    "BrokerRefused",
    "BrokerUnreachable",
    "Context",
    "DecodeError",
    "DuplicateTask",
    "EncodeError",
    "Ignore",
    "InvalidArguments",
    "InvalidQueueName",
    "InvalidSchedule",
    "InvalidSetting",
    "PublishFailed",
    "Reject",
    "Request",
    "Retry",
    "ScheduleFileError",
    "Settings",
    "SoftTimeLimitExceeded",
    "Task",
    "TaskqError",
    "Terminated",
    "TimeLimitExceeded",
    "UnknownOption",
    "UnknownSetting",
    "UnknownTask",
    "UsageError",
    "__version__",
    "configure",
    "current_request",
    "default_app",
    "send_task",
    "task",
]
