"""Coroutines as tasks: sent without blocking the event loop, run by the hundred in one worker process."""

import asyncio
import subprocess
import sys
from pathlib import Path

from taskq import TaskqError, task

PAGES = 5


@task("fetch", queue="pages")
async def fetch(page: int) -> None:
    """Wait as a program waits for a web server; the other tasks run meanwhile."""
    print(f"page {page}: asked", flush=True)
    await asyncio.sleep(0.5)
    print(f"page {page}: here", flush=True)


async def send() -> None:
    """Send all at once; `adelay` is `delay` for coroutines."""
    await asyncio.gather(*(fetch.adelay(page) for page in range(1, PAGES + 1)))


def main() -> None:
    """Send the tasks and run a worker until they have ended."""
    asyncio.run(send())
    command = [sys.executable, "-m", "taskq", "worker", "-A", "pages", "-P", "asyncio"]
    folder = Path(__file__).parent
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for _ in range(2 * PAGES):
            print(worker.stdout.readline(), end="")
        worker.terminate()


if __name__ == "__main__":
    try:
        main()
    except TaskqError as error:  # such as no broker: one line says what to do
        sys.exit(f"pages: {error}")
