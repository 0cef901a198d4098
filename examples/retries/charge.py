"""A task that is tried again until it succeeds, and one that has no retry left and goes to the dead letters."""

import subprocess
import sys
from pathlib import Path

from taskq import Context, TaskqError, default_app, task
from taskq.letters.deadletters import read_dead_letter


@task(
    "charge",
    queue="payments",
    bind=True,
    autoretry_for=(ConnectionError,),
    max_retries=2,
    retry_backoff=0.2,
    retry_jitter=False,
)
def charge(self: Context, customer: str, failures: int) -> None:
    """Charge a customer; the bank does not answer the first so many times."""
    attempt = self.request.retries + 1
    if attempt <= failures:
        print(f"{customer}: no answer to attempt {attempt}", flush=True)
        raise ConnectionError(f"no answer to attempt {attempt}")
    print(f"{customer}: paid at attempt {attempt}", flush=True)


def main() -> None:
    """Send two tasks, run a worker until both have ended, and show the dead letter."""
    charge.delay("ACME", 2)
    charge.delay("Globex", 3)
    command = [sys.executable, "-m", "taskq", "worker", "-A", "charge", "-c", "1"]
    folder = Path(__file__).parent
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for _ in range(6):
            print(worker.stdout.readline(), end="")
        worker.terminate()
    for stored in default_app.broker.admin.dead_letters("payments", timeout=10):
        letter = read_dead_letter(stored)
        print(f"dead letter: {letter.reason} after {letter.attempts} attempts: {letter.error}")


if __name__ == "__main__":
    try:
        main()
    except TaskqError as error:  # such as no broker: one line says what to do
        sys.exit(f"charge: {error}")
