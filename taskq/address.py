"""Where the broker is: the forms in which a user may write it. Pure; connecting is in broker.py.

`HOST:PORT[,HOST:PORT...]` or `taskq://` (plain), `taskqs://` (TLS), with `USER:PASSWORD@` before the hosts (SASL), or `memory://`.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

DEFAULT_PORT = 9092

_SCHEMES = ("taskq", "taskqs", "memory")
_KOMBU_OWN = ("kafka", "confluentkafka")


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's address. Its text form names no password."""

    scheme: str
    hosts: str
    """`HOST:PORT`, by comma; what stands after `memory://` for that scheme."""

    username: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        if self.scheme == "taskq" and self.username is None:
            return self.hosts
        credentials = f"{self.username}:***@" if self.username is not None else ""
        return f"{self.scheme}://{credentials}{self.hosts}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"


def parse_address(text: str) -> Address:
    """Read a broker's address.

    Raises:
        ValueError: With one line that says what is wrong and what to write.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "taskq", text.strip()
    if scheme in _KOMBU_OWN:
        raise ValueError(
            f"{scheme}:// is kombu's own Kafka transport, another one; write taskq:// (or taskqs:// for TLS)"
        )
    if scheme not in _SCHEMES:
        raise ValueError(
            f"unknown scheme {scheme}://; write HOST:PORT, taskq://, taskqs:// or memory://"
        )
    if scheme == "memory":
        return Address(scheme, rest.rstrip("/"))
    credentials, has_credentials, hosts = rest.rpartition("@")
    username, _, password = credentials.partition(":")
    return Address(
        scheme,
        ",".join(_host(host.strip()) for host in hosts.rstrip("/").split(",")),
        unquote(username) if has_credentials else None,
        unquote(password) if has_credentials else None,
    )


def _host(text: str) -> str:
    if text.endswith("]") or ":" not in text:  # an IPv6 address stands in brackets
        text = f"{text}:{DEFAULT_PORT}"
    host, _, port = text.rpartition(":")
    if not host or any(character in host for character in "/ ;?#\\"):
        raise ValueError(f"{text!r} is not HOST:PORT")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"port {port!r} of {host} is not a number from 1 to 65535")
    return text
