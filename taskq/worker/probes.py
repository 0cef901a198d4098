"""The worker's HTTP server for probes, and for metrics: 200 or 503, and text. Decides nothing."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from taskq.errors import UsageError
from taskq.hostport import HostPort
from taskq.worker.health import Answer

logger = logging.getLogger(__name__)

_CLIENT_SECONDS = 5.0
"""For a client to send its request: one that does not holds a thread."""

Questions = Mapping[str, Callable[[], Answer]]
"""What to ask for each path. Called in the server's threads."""


class Probes(socketserver.ThreadingTCPServer):
    """Answers in daemon threads of its own. Not http.server's server, which looks for its own name in the DNS when it starts."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, place: HostPort, questions: Questions) -> None:
        """Bind; nothing is answered before `start`.

        Raises:
            UsageError: Nobody can listen there; another program may do so already.
        """
        self.questions = questions
        try:
            family, _, _, _, address = socket.getaddrinfo(
                place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self.address_family = family
            super().__init__(address, _Handler)  # type: ignore[arg-type]  # an IPv6 address has four parts
        except OSError as error:
            raise UsageError(
                f"--health {place}: cannot listen there: {error.strerror or error}"
            ) from error

    def start(self) -> None:
        """Answer from now on, until the process ends or `shutdown` is called."""
        threading.Thread(target=self.serve_forever, name="taskq-probes", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that a client went away; it is no matter of the worker's."""
        logger.debug("a probe was not answered", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_SECONDS
    server_version = "taskq"
    sys_version = ""
    server: Probes

    def do_GET(self) -> None:
        """Answer a probe."""
        question = self.server.questions.get(self.path.partition("?")[0])
        if question is None:
            *others, last = self.server.questions
            self._send(
                HTTPStatus.NOT_FOUND, Answer(False, f"there are {', '.join(others)} and {last}")
            )
            return
        answer = question()
        status = HTTPStatus.OK if answer.is_good else HTTPStatus.SERVICE_UNAVAILABLE
        self._send(status, answer)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        body = f"{answer.text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds."""
