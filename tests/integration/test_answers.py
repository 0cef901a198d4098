"""Ports that answer and are no broker that can be used: the one line says which mistake it is, not to start a broker."""

from __future__ import annotations

import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mock_cluster import MockCluster
from tests.support.processes import environment


class _Http(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(1000)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@pytest.fixture
def http() -> Iterator[str]:
    """The address of a server that answers anything in HTTP."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Http) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def queues(folder: Path, broker: str) -> tuple[int, str]:
    """Return the exit code and the line of a command that needs a broker."""
    done = subprocess.run(
        [sys.executable, "-m", "taskq", "queues", "-b", broker],
        cwd=folder,
        # A slow machine has to hear the answer within it; what refuses a login, or TLS, ends the wait at once.
        env=environment({"TASKQ_CONNECT_TIMEOUT": "4"}),
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    return done.returncode, line


def test_another_programs_port_is_not_kafka(tmp_path: Path, http: str) -> None:
    code, line = queues(tmp_path, http)

    assert code == 3
    assert "what answers there is not Kafka but HTTP" in line
    assert "docker compose up" not in line


@pytest.mark.parametrize(
    ("url", "advice"),
    [("taskqs://{}", "use taskq:// in place of taskqs://"), ("taskq://u:p@{}", "takes no login")],
)
def test_what_the_port_does_not_do_is_said(
    tmp_path: Path, mock_cluster: MockCluster, url: str, advice: str
) -> None:
    code, line = queues(tmp_path, url.format(mock_cluster.bootstrap))

    assert code == 3
    assert advice in line
    assert "docker compose up" not in line
