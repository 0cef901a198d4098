"""The servers that are measured against: a Kafka and a Redis of our own, with temporary data, ended with the run."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.claim_loop import claim_loop
from benchmarks.drivers import Taskq
from tests.support.kafka import Kafka
from tests.support.ports import reserve_port
from tests.support.waiting import wait_until


@contextmanager
def kafka() -> Iterator[str]:
    """Start Kafka, one node, with the second compiler of Java, which the tests do without; give HOST:PORT."""
    with Kafka(jvm_options=["-XX:TieredStopAtLevel=4", "-Xmx1g"]) as node:
        _warm_up(node.bootstrap)
        yield node.bootstrap


def _warm_up(bootstrap: str) -> None:
    """Give Java the work of a minute, so that what is measured first is not measured while it compiles."""
    warm = Taskq(bootstrap)
    for number in range(2000):
        warm.send("benchmark.noop", number, "a few letters")
    warm.send_many("benchmark.noop", [(number, "a few letters") for number in range(100_000)])
    claim_loop(bootstrap, warm.queue, 102_000)


@contextmanager
def redis() -> Iterator[str]:
    """Start Debian's Redis as it is packaged for Celery's users: in memory, nothing written to disk; give its URL.

    Raises:
        FileNotFoundError: There is no `redis-server`.
    """
    port = reserve_port()
    with tempfile.TemporaryDirectory(prefix="benchmark-redis-") as folder:
        port.release()
        command = ["redis-server", "--port", str(port.number), "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        ping = ["redis-cli", "-p", str(port.number), "ping"]
        try:
            wait_until(
                lambda: b"PONG" in subprocess.run(ping, capture_output=True).stdout,
                timeout=10,
                what="redis-server",
            )
            yield f"redis://127.0.0.1:{port.number}/0"
        finally:
            server.terminate()
            server.wait()
