"""A middleware: an object whose methods are called around each run, in the process that runs the task."""

import subprocess
import sys
from pathlib import Path

from taskq import Request, TaskqError, default_app, task


class Audit:
    """Prints what runs. All methods of a middleware are optional."""

    def before_run(self, request: Request) -> None:
        """Called before the function."""
        print(f"{request.task}: begins, from queue {request.queue}", flush=True)

    def on_failure(self, request: Request, error: BaseException) -> None:
        """Called when the function raised."""
        print(f"{request.task}: raised {error!r}", flush=True)

    def after_run(self, request: Request, outcome: object) -> None:
        """Called after the function, whatever its outcome."""
        print(f"{request.task}: {type(outcome).__name__.lower()}", flush=True)


default_app.middleware.append(Audit())


@default_app.on("worker_process_init")
def connect() -> None:
    """Run once in each process, before its first task: the place to open a connection to a database."""
    print("process: begins", flush=True)


@task("divide", queue="numbers")
def divide(a: int, b: int) -> float:
    """Fail for b = 0; that task goes to the dead letters."""
    return a / b


def main() -> None:
    """Send two tasks and run a worker until it has told of both."""
    for b in (2, 0):
        divide.options(key="in order").delay(1, b)
    command = [sys.executable, "-m", "taskq", "worker", "-A", "audit", "-c", "1"]
    folder = Path(__file__).parent
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for _ in range(6):
            print(worker.stdout.readline(), end="")
        worker.terminate()


if __name__ == "__main__":
    try:
        main()
    except TaskqError as error:  # such as no broker: one line says what to do
        sys.exit(f"audit: {error}")
