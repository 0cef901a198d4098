"""The whole example in one terminal: a Kafka, a beat and a worker, until Ctrl-C.

The Kafka is the one that the tests run on: temporary, and gone at the end. It needs Java and, the first time, Maven.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # `tests` is not installed

from tests.support.guard import guard  # noqa: E402
from tests.support.installation import KafkaUnavailable  # noqa: E402
from tests.support.kafka import Kafka  # noqa: E402

COMMANDS = (["worker", "-c", "4"], ["beat"])


def main() -> int:
    """Run until SIGINT or SIGTERM, or until one of the processes ends; return the exit code."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    say("starting a Kafka (the first time its jars are fetched, once for this machine) ...")
    try:
        kafka = Kafka()
    except KafkaUnavailable as error:
        say(f"cannot run a Kafka: {error}")
        return 3
    with kafka:
        say(f"Kafka is up; from another terminal: export TASKQ_BROKER={kafka.bootstrap}")
        processes = [start(command, kafka.bootstrap) for command in COMMANDS]
        for process in processes:
            threading.Thread(target=announce_end, args=(process, stop), daemon=True).start()
        say("Ctrl-C ends it all")
        stop.wait()
        failed = [process for process in processes if process.poll() not in (None, 0)]
        end(processes)
    return 1 if failed else 0


def start(command: list[str], broker: str) -> subprocess.Popen[bytes]:
    """Start a taskq command in this folder. It does not get the terminal's Ctrl-C: `main` ends it, before Kafka."""
    say(f"taskq {' '.join(command)}")
    process = subprocess.Popen(
        [sys.executable, "-m", "taskq", *command],
        cwd=HERE,
        env={**os.environ, "TASKQ_BROKER": broker},
        start_new_session=True,
    )
    guard().watch(process.pid)
    return process


def announce_end(process: subprocess.Popen[bytes], stop: threading.Event) -> None:
    """Wait for a process and have everything stopped when it ends."""
    process.wait()
    stop.set()


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Stop the schedule first, then let the worker finish what it has."""
    for process in reversed(processes):
        process.terminate()
        process.wait()
        guard().release(process.pid)


def say(line: str) -> None:
    """Print a line of this script's own."""
    print(f"--- {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
