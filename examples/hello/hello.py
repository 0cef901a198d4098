"""One task: sent by this program, run by a worker that it starts."""

import subprocess
import sys
from pathlib import Path

from taskq import TaskqError, task


@task("hello", queue="hello")
def hello(name: str) -> str:
    """Say hello, in a process of the worker."""
    print(f"hello, {name}", flush=True)
    return name


def main() -> None:
    """Send two tasks and run a worker until both have spoken."""
    hello.delay("Ann")
    hello.delay(name="Bob")
    command = [sys.executable, "-m", "taskq", "worker", "-A", "hello", "-c", "1"]
    folder = Path(__file__).parent
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for _ in range(2):
            print(worker.stdout.readline(), end="")
        worker.terminate()  # it finishes what it has, and ends


if __name__ == "__main__":
    try:
        main()
    except TaskqError as error:  # such as no broker: one line says what to do
        sys.exit(f"hello: {error}")
