"""A RabbitMQ of our own for peers that speak to one: Debian's, with temporary data, ended with the run."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import reserve_port
from tests.support.waiting import wait_until

_COMMANDS = Path("/usr/lib/rabbitmq/bin")
"""Where Debian has RabbitMQ's own scripts; its wrappers around them know only the system's one node."""


@dataclass(frozen=True)
class RabbitMQ:
    """A running node."""

    url: str
    environment: Mapping[str, str]
    """By which its commands find it."""

    def backlog(self, queue: str) -> int:
        """Return how many messages of a queue wait or are not acknowledged."""
        answer = self.control("list_queues", "--quiet", "--no-table-headers", "name", "messages")
        answer.check_returncode()
        counts = dict(line.split("\t") for line in answer.stdout.splitlines() if "\t" in line)
        return int(counts[queue])

    def control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `rabbitmqctl`, which takes a second."""
        return subprocess.run(
            [_COMMANDS / "rabbitmqctl", *arguments],
            env=os.environ | dict(self.environment),
            capture_output=True,
            text=True,
        )


@contextmanager
def rabbitmq() -> Iterator[RabbitMQ]:
    """Start a node as Debian packages it; end it, and the mapper of names that Erlang leaves behind, afterwards.

    Raises:
        FileNotFoundError: There is no RabbitMQ.
    """
    ports = [reserve_port() for _ in range(3)]
    with tempfile.TemporaryDirectory(prefix="benchmark-rabbitmq-") as folder:
        for port in ports:
            port.release()
        clients, nodes, mapper = (str(port.number) for port in ports)
        node = RabbitMQ(
            f"amqp://guest:guest@127.0.0.1:{clients}/%2F",
            {
                "RABBITMQ_NODENAME": f"benchmark{clients}@localhost",
                "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
                "RABBITMQ_NODE_PORT": clients,
                "RABBITMQ_DIST_PORT": nodes,
                "ERL_EPMD_PORT": mapper,
                "RABBITMQ_MNESIA_BASE": folder,
                "RABBITMQ_LOG_BASE": folder,
                "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
                "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
                "HOME": folder,  # of the secret that node and commands share
            },
        )
        server = subprocess.Popen(
            [_COMMANDS / "rabbitmq-server"],
            env=os.environ | dict(node.environment),
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_until(
                lambda: node.control("await_startup", "--timeout", "30").returncode == 0,
                timeout=120,
                what="rabbitmq-server",
            )
            yield node
        finally:
            node.control("stop")
            server.wait(60)
            subprocess.run(["epmd", "-port", mapper, "-kill"], capture_output=True, check=False)
