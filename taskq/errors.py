"""All errors that taskq raises: one tree.

    TaskqError
    ├── UsageError             something the user gave is wrong; the command line exits with 2
    │   ├── AppNotFound
    │   ├── BrokerRefused
    │   ├── DuplicateTask
    │   ├── InvalidQueueName
    │   ├── InvalidSchedule
    │   ├── InvalidSetting
    │   ├── ScheduleFileError
    │   ├── UnknownOption      also a TypeError
    │   └── UnknownSetting
    ├── BrokerUnreachable      the command line exits with 3
    ├── DecodeError
    ├── EncodeError            also a ValueError
    ├── InvalidArguments       also a TypeError
    ├── PublishFailed
    ├── SoftTimeLimitExceeded
    ├── TimeLimitExceeded
    └── UnknownTask

`Reject` and `Ignore`, which a task raises itself, hang on the same root and are in outcome.py; `TaskNotRun` and `NeverIdle`, which
only tests see, in testing/engine.py. Each error carries its data as
attributes; its text says what happened, to what, and what to do next. Programs test types and attributes, never the text.

`Terminated` is no error and not of the tree: as asyncio's CancelledError it passes `except Exception`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class TaskqError(Exception):
    """The root of all errors of taskq."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state: the arguments of most constructors are not `args`."""
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(kind: type[TaskqError], args: tuple[Any, ...], state: dict[str, Any]) -> TaskqError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _near(near: str | None) -> str:
    return f"; did you mean {near!r}?" if near else ""


class UsageError(TaskqError):
    """Something that the user gave is wrong: an option, a setting, a module, a file."""


class AppNotFound(UsageError):
    """The module named by `-A` or the setting `app` cannot be imported, or has no such app.

    Attributes:
        module: What was asked for, `MODULE` or `MODULE:APP`.
        why: One line.
    """

    def __init__(self, module: str, why: str) -> None:
        super().__init__(f"cannot load the app {module!r}: {why}")
        self.module = module
        self.why = why


class BrokerRefused(UsageError):
    """The broker, or its client, does not accept what was asked: a setting, a name, missing rights.

    Attributes:
        address: The broker's address, without credentials.
        why: One line.
    """

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"the broker {address} refuses: {why}")
        self.address = address
        self.why = why


class DuplicateTask(UsageError):
    """Two functions claim one task name or alias.

    Attributes:
        name: The name or alias.
        first: Where the registered function stands, `FILE:LINE`.
        second: Where the refused one stands.
    """

    def __init__(self, name: str, first: str, second: str) -> None:
        super().__init__(
            f"two tasks have the name {name!r}: {first} and {second}; give one of them another name with @task(NAME)"
        )
        self.name = name
        self.first = first
        self.second = second


class InvalidQueueName(UsageError):
    """A queue's name breaks the rules of queues.py.

    Attributes:
        name: The name.
        why: One line.
    """

    def __init__(self, name: object, why: str) -> None:
        super().__init__(f"invalid queue name {name!r}: {why}")
        self.name = name
        self.why = why


class InvalidSchedule(UsageError):
    """A cron expression, time zone or dialect is wrong.

    Attributes:
        expression: What was to be parsed.
        dialect: By whose rules.
        why: One line.
    """

    def __init__(self, expression: str, dialect: str, why: str) -> None:
        super().__init__(f"invalid schedule {expression!r} (dialect {dialect}): {why}")
        self.expression = expression
        self.dialect = dialect
        self.why = why


class InvalidSetting(UsageError):
    """A setting has a value that it cannot have.

    Attributes:
        name: The setting.
        value: What was given; the text shows it unless the setting is secret.
        why: One line.
        source: Where it was given; empty if that is clear.
    """

    def __init__(
        self, name: str, value: object, why: str, *, source: str = "", secret: bool = False
    ) -> None:
        shown = "" if secret else f" = {value!r}"
        origin = f" ({source})" if source else ""
        super().__init__(f"invalid setting {name}{shown}{origin}: {why}")
        self.name = name
        self.value = value
        self.why = why
        self.source = source


class ScheduleFileError(UsageError):
    """A schedule file is missing, cannot be read, or has wrong entries; nothing of it was taken.

    Attributes:
        path: The file.
        problems: One line for each thing that is wrong.
    """

    def __init__(self, path: str, problems: Sequence[str]) -> None:
        super().__init__(f"schedule file {path}: {'; '.join(problems)}")
        self.path = path
        self.problems = list(problems)


class UnknownOption(UsageError, TypeError):
    """An option of a task or of a call that this version does not have.

    Attributes:
        name: The option.
        near: The nearest option that there is, or None.
        where: What was called: `@task`, `apply_async`.
    """

    def __init__(
        self,
        name: str,
        near: str | None = None,
        *,
        where: str = "",
        planned: bool = False,
        belongs_to: str = "",
    ) -> None:
        place = f" of {where}" if where else ""
        ending = "; this version of taskq has no such option" if planned else _near(near)
        ending = f"; it is an option of {belongs_to}" if belongs_to else ending
        super().__init__(f"unknown option {name!r}{place}{ending}")
        self.name = name
        self.near = near
        self.where = where


class UnknownSetting(UsageError):
    """A setting that does not exist, in a flag, a file or the code.

    Attributes:
        name: The setting.
        near: The nearest name that there is, or None.
        source: Where it was given; empty if that is clear.
    """

    def __init__(self, name: str, near: str | None = None, *, source: str = "") -> None:
        origin = f" ({source})" if source else ""
        super().__init__(f"unknown setting {name!r}{origin}{_near(near)}")
        self.name = name
        self.near = near
        self.source = source


class BrokerUnreachable(TaskqError):
    """No broker answers, or what answers is none, or refuses the login.

    Attributes:
        address: Where it was looked for, without credentials.
        why: The client's reason; may be empty.
        advice: What to do where somebody answered, and cannot be used; empty where nobody did.
    """

    def __init__(self, address: str, why: str = "", *, advice: str = "") -> None:
        reason = f" ({why})" if why else ""
        what = "no broker can be used at" if advice else "no broker answers at"
        start = "start one with `taskq dev` or `docker compose up`, or name another with -b"
        super().__init__(f"{what} {address}{reason}; {advice or start}")
        self.address = address
        self.why = why
        self.advice = advice


class DecodeError(TaskqError):
    """A message cannot be run: it goes to the dead letters.

    Attributes:
        reason: The dead letter's reason: `unreadable`, `bad_arguments` or `unsupported`.
        why: One line.
    """

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(f"{reason}: {why}")
        self.reason = reason
        self.why = why


class EncodeError(TaskqError, ValueError):
    """Arguments of a task cannot be serialized; nothing was sent.

    Attributes:
        task: The task's name.
        argument: Which one: `argument 1`, `keyword 'amount'`.
        why: The serializer's reason.
    """

    def __init__(self, task: str, argument: str, why: str) -> None:
        super().__init__(f"cannot serialize {argument} of task {task!r}: {why}")
        self.task = task
        self.argument = argument
        self.why = why


class InvalidArguments(TaskqError, TypeError):
    """The arguments do not fit the task's function, or an option cannot be; nothing was sent.

    Attributes:
        task: The task's name.
        why: Python's reason; of an option it begins with its name.
        options: The names of the options of the call that are wrong; empty where arguments are.
    """

    def __init__(self, task: str, why: str, *, options: Sequence[str] = ()) -> None:
        what = "options" if options else "arguments"
        super().__init__(f"wrong {what} for task {task!r}: {why}")
        self.task = task
        self.why = why
        self.options = tuple(options)


class PublishFailed(TaskqError):
    """The broker did not acknowledge a task in time. It may have been sent all the same.

    Attributes:
        task_id: The task's id; of several, the first one's that failed.
        queue: Where it was sent to.
        reason: The transport's reason.
        sent: After `delay_many`: the `AsyncResult` of each task that was acknowledged, in order.
        failed: After `delay_many`: the `AsyncResult` of each that was not.
        failed_positions: Where the failed ones stood in what `delay_many` was given, counted from 0.
        maybe_sent: False where it is certain that none of the failed was sent.
    """

    def __init__(
        self,
        task_id: str,
        queue: str,
        reason: str,
        *,
        sent: Sequence[Any] = (),
        failed: Sequence[Any] = (),
        failed_positions: Sequence[int] = (),
        maybe_sent: bool = True,
    ) -> None:
        total = len(sent) + len(failed)
        what = f"task {task_id}" if total <= 1 else f"{len(failed)} of {total} tasks"
        ending = "it may have been sent all the same" if maybe_sent else "it was not sent"
        super().__init__(f"cannot send {what} to queue {queue!r}: {reason}; {ending}")
        self.task_id = task_id
        self.queue = queue
        self.reason = reason
        self.sent = list(sent)
        self.failed = list(failed)
        self.failed_positions = tuple(failed_positions)
        self.maybe_sent = maybe_sent


class SoftTimeLimitExceeded(TaskqError):
    """Raised in a task that runs longer than its `soft_time_limit`; one that catches it goes on, until its `time_limit`.

    Attributes:
        seconds: The limit; None where it is not told (pools of threads).
    """

    def __init__(self, seconds: float | None = None) -> None:
        limit = "" if seconds is None else f" of {seconds:g} s"
        super().__init__(f"it ran longer than its soft_time_limit{limit}")
        self.seconds = seconds


class TimeLimitExceeded(TaskqError):
    """A task ran longer than its `time_limit` and was ended. No task sees it: it stands in logs and dead letters.

    Attributes:
        seconds: The limit.
    """

    def __init__(self, seconds: float, what: str = "") -> None:
        super().__init__(f"it ran longer than its time_limit of {seconds:g} s{what}")
        self.seconds = seconds


class Terminated(BaseException):
    """Raised in a plain function that runs in a thread when its task is revoked with `terminate`.

    Coroutines are cancelled instead, and pool processes are killed. A function that raises anything after it counts as revoked; one
    that returns all the same has succeeded. It passes `except Exception`, so that a loop that shrugs off errors ends, too.
    """

    def __init__(self) -> None:
        super().__init__("its task was revoked, and is to be ended")


class UnknownTask(TaskqError):
    """No task is registered under this name.

    Attributes:
        name: The name.
        queue: The queue its message stood in; empty if there was none.
        near: The nearest registered name, or None.
    """

    def __init__(self, name: str, queue: str = "", near: str | None = None) -> None:
        place = f" in queue {queue!r}" if queue else ""
        super().__init__(f"unknown task {name!r}{place}{_near(near)}")
        self.name = name
        self.queue = queue
        self.near = near
