"""What a cluster's probe sees of a worker."""

from __future__ import annotations

import http.client
from dataclasses import dataclass

from tests.support.ports import Port, reserve_port
from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer."""

    status: int
    text: str


class Probe:
    """Asks one address."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        """Choose a port that nobody has."""
        self.host = host
        self._port: Port = reserve_port()

    @property
    def place(self) -> str:
        """HOST:PORT, for `--health`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self._port.number}"

    def get(self, path: str, method: str = "GET") -> Seen:
        """Ask once; raises OSError where nobody listens."""
        connection = http.client.HTTPConnection(self.host, self._port.number, timeout=30)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return Seen(response.status, response.read().decode())
        finally:
            connection.close()

    def close(self) -> None:
        """Let others have the port."""
        self._port.release()

    def wait_for(self, path: str, status: int, *, timeout: float = 60.0) -> Seen:
        """Ask until the answer has a status, and return it."""

        def look() -> Seen | None:
            try:
                seen = self.get(path)
            except OSError:
                return None
            return seen if seen.status == status else None

        found = wait_until(look, timeout=timeout, what=f"{status} from {path}")
        assert found is not None
        return found
