"""Reports of errors, as to Sentry: a middleware that gives each failure to a function."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from taskq import PublishFailed, Request, TaskqError, default_app, task

Capture = Callable[[BaseException, dict[str, str]], None]


class Reports:
    """Tells a function of tasks that fail and of sends that fail. It may fail itself: that is logged, and loses no task."""

    def __init__(self, capture: Capture) -> None:
        """Take the function, such as one around `sentry_sdk.capture_exception`."""
        self._capture = capture

    def on_failure(self, request: Request, error: BaseException) -> None:
        """Called when a task raised."""
        # Not the arguments: they may be secrets, and `taskq dlq show` has them.
        self._capture(error, {"task": request.task, "queue": request.queue})

    def after_publish(self, publication: object, error: BaseException | None) -> None:
        """Called after each send."""
        if isinstance(error, PublishFailed):
            self._capture(error, {"queue": error.queue})


def to_stdout(error: BaseException, tags: dict[str, str]) -> None:
    """Stand in for a service that collects errors."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = place.tb_frame.f_code.co_name if place is not None else "?"
    print(f"report: {error!r} in {where}(), {tags}", flush=True)


default_app.middleware.append(Reports(to_stdout))


@task("charge", queue="payments")
def charge(amount: int) -> None:
    """Fail for what is no amount; that task goes to the dead letters, too."""
    check(amount)


def check(amount: int) -> None:
    """Raise for what is no amount."""
    if amount <= 0:
        raise ValueError(f"no amount: {amount}")


def main() -> None:
    """Send two tasks and run a worker until it has reported one of them."""
    for amount in (10, -10):
        charge.delay(amount)
    command = [sys.executable, "-m", "taskq", "worker", "-A", "reports", "-c", "1"]
    folder = Path(__file__).parent
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        print(worker.stdout.readline(), end="")
        worker.terminate()


if __name__ == "__main__":
    try:
        main()
    except TaskqError as error:  # such as no broker: one line says what to do
        sys.exit(f"reports: {error}")
