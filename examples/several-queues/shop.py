"""Two queues, so that what takes long keeps nothing short waiting: one worker takes the mails, one all the rest."""

import subprocess
import sys
from pathlib import Path

from taskq import TaskqError, current_request, task


@task("mail", queue="mails")
def mail(to: str) -> None:
    """Take milliseconds."""
    say(f"mail to {to}")


@task("report", queue="reports")
def report(year: int) -> None:
    """Take minutes, in a real shop."""
    say(f"report of {year}")


def say(text: str) -> None:
    """Print a line with the queue that the running task came from."""
    request = current_request()
    assert request is not None
    print(f"{request.queue}: {text}", flush=True)


def worker(*options: str) -> "subprocess.Popen[str]":
    """Start a worker."""
    command = [sys.executable, "-m", "taskq", "worker", "-A", "shop", "-c", "1", *options]
    return subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)


def main() -> None:
    """Send three tasks and run both workers until they have run them."""
    mail.delay("ann@example.com")
    report.delay(2025)
    mail.options(queue="reports").delay("the auditor")  # a call may choose another queue
    workers = ((worker("-Q", "mails", "-n", "mailer"), 1), (worker("-X", "mails"), 2))
    for process, tasks in workers:
        with process:
            assert process.stdout is not None
            for _ in range(tasks):
                print(process.stdout.readline(), end="")
            process.terminate()


if __name__ == "__main__":
    try:
        main()
    except TaskqError as error:  # such as no broker: one line says what to do
        sys.exit(f"shop: {error}")
