"""`HOST:PORT`, as a user writes where something of ours is to listen. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostPort:
    """Where to listen."""

    host: str
    """A name or an address; IPv6 without brackets."""

    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_host_port(text: str) -> HostPort:
    """Read `HOST:PORT`; IPv6 stands in brackets.

    Raises:
        ValueError: With one line that says what is wrong and what to write.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8080")
    if not host:
        raise ValueError("has no host: write 0.0.0.0:PORT to listen on all addresses")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("is not HOST:PORT; an IPv6 address stands in brackets, such as [::1]:8080")
    if not host or any(character in host for character in "[]/ \t@"):
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8080")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"port {port!r} is not a number from 1 to 65535")
    return HostPort(host, int(port))
