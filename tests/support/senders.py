"""A program that sends tasks from many threads and forks meanwhile, as web servers do: `python -m tests.support.senders HOW`.

Each acknowledged task's id goes to the ledger as `sent`, written after `delay()` has returned.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from taskq import default_app, task
from tests.support.ledger import Ledger

ledger = Ledger(os.environ["TEST_LEDGER"])


@task("wire.note")
def note(number: int) -> None:
    """Be sent; nothing runs it here."""


def send(count: int) -> None:
    """Send so many, one after the other."""
    for number in range(count):
        ledger.write(note.delay(number).id, "sent")


def in_threads(count: int, function: Callable[[], None]) -> None:
    """Call a function in so many threads at a time; raise what the first raised."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            errors.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def forked(function: Callable[[], None]) -> int:
    """Call a function in a child, which then ends as programs do: with its garbage collected and its exit handlers run."""
    pid = os.fork()
    if pid == 0:
        function()
        sys.exit(0)
    return pid


def reap(pids: list[int]) -> None:
    """Wait for children; raise unless all ended well."""
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if any(codes):
        raise SystemExit(f"children ended with {codes}")


def threads() -> None:
    """Send from eight threads."""
    in_threads(8, lambda: send(250))


def preloaded() -> None:
    """Fork before anything was sent, as gunicorn does with --preload."""
    reap([forked(lambda: in_threads(2, lambda: send(50))) for _ in range(3)])


def connected() -> None:
    """Fork after tasks were sent; parent and children go on sending."""
    send(10)
    children = [forked(lambda: in_threads(2, lambda: send(50))) for _ in range(3)]
    send(100)
    reap(children)
    send(10)


def busy() -> None:
    """Fork again and again while other threads are sending."""
    stop = threading.Event()

    def until_stopped() -> None:
        while not stop.is_set():
            send(5)

    # The first send imports what it needs; Python keeps a module's lock held in a child that was forked meanwhile.
    send(1)
    senders = threading.Thread(target=lambda: in_threads(4, until_stopped))
    senders.start()
    try:
        for _ in range(10):
            reap([forked(lambda: send(10))])
    finally:
        stop.set()
        senders.join()


def grandchildren() -> None:
    """A child that has sent forks itself."""

    def child() -> None:
        send(10)
        reap([forked(lambda: send(10))])
        send(10)

    send(10)
    reap([forked(child)])


def main() -> None:
    """Do what the command line says."""
    ways = {each.__name__: each for each in (threads, preloaded, connected, busy, grandchildren)}
    ways[sys.argv[1]]()
    default_app.close()
    print("done", flush=True)


if __name__ == "__main__":
    main()
