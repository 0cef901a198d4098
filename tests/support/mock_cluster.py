"""The embedded broker (librdkafka's mock cluster) in a process of its own, which no test forks. This file is also its program."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType

from tests.support.guard import guard


class MockCluster:
    """A broker without Java: groups, commits and transactions work, topics appear by themselves and nothing is kept."""

    def __init__(self) -> None:
        """Prepare it; `start` or `with` starts it."""
        self.bootstrap = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it; blocks until it has an address (0.2 s)."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        guard().watch(self._process.pid)
        assert self._process.stdout is not None
        self.bootstrap = self._process.stdout.readline().strip()
        if not self.bootstrap:
            raise RuntimeError("the mock cluster ended before it had an address")

    def close(self) -> None:
        """End it; what it held is gone."""
        process = self._process
        if process is None:
            return
        process.communicate()
        guard().release(process.pid)
        self._process = None

    def __enter__(self) -> MockCluster:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def main() -> None:
    """Run the mock cluster until standard input ends."""
    from taskq_kafka.embedded import EmbeddedBroker

    broker = EmbeddedBroker()
    print(broker.address, flush=True)
    sys.stdin.read()
    broker.close()


if __name__ == "__main__":
    main()
