"""Where the brokers are: `taskq://` URLs and lists of hosts, parsed.

Pure. kombu's own URL parser cannot read a list of hosts with ports, which is how Kafka clusters are named, so the transport hands
whole URLs to this one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

from .errors import ConfigInvalid

DEFAULT_PORT: Final = 9092
SCHEMES: Final = {"taskq": False, "taskqs": True}
"""URL scheme: whether it means TLS."""


@dataclass(frozen=True, slots=True)
class Address:
    """Bootstrap servers, and how to log in."""

    bootstrap: str
    """`host:port`, by comma; IPv6 addresses in brackets."""

    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def uri(self, *, include_password: bool = False, mask: str = "**") -> str:
        """Return it as a URL, by default without the password."""
        login = ""
        if self.user:
            secret = quote(self.password or "", safe="") if include_password else mask
            login = f"{quote(self.user, safe='')}:{secret}@"
        return f"{'taskqs' if self.tls else 'taskq'}://{login}{self.bootstrap}/"


def parse_address(text: str) -> Address:
    """Parse `taskq://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]`, or such a list of hosts alone.

    User and password are percent-encoded. A list may begin each host with the scheme again.

    Raises:
        ConfigInvalid: It is none.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "taskq", text
    if scheme not in SCHEMES:
        raise ConfigInvalid("broker", f"{scheme}:// is not a taskq URL", near="taskq://")
    rest, _, query = rest.partition("?")
    if query:
        raise ConfigInvalid("broker", "a taskq URL has no options; give them as transport_options")
    rest = rest.rstrip("/").replace(f",{scheme}://", ",")
    login, at, hosts = rest.rpartition("@")
    if "/" in hosts:
        raise ConfigInvalid("broker", "a taskq URL has no path; a prefix is a setting")
    user, colon, password = login.partition(":")
    return Address(
        bootstrap=bootstrap_servers(hosts),
        tls=SCHEMES[scheme],
        user=unquote(user) if at else None,
        password=unquote(password) if at and colon else None,
    )


def bootstrap_servers(hosts: str, port: int | None = None) -> str:
    """Return librdkafka's `bootstrap.servers` for a list of hosts; `port` is the last one's, if it names none.

    Raises:
        ConfigInvalid: A port is not a number, or a host is missing.
    """
    names = [host.strip() for host in (hosts or "localhost").split(",")]
    ports = [DEFAULT_PORT] * (len(names) - 1) + [port or DEFAULT_PORT]
    return ",".join(_with_port(host, default) for host, default in zip(names, ports, strict=True))


def _with_port(host: str, default_port: int) -> str:
    """Return `host:port`; an IPv6 address gets brackets."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") > 1:
        name, port = host, ""
    else:
        name, _, port = host.partition(":")
    if not name or any(character.isspace() for character in name):
        raise ConfigInvalid("broker", f"{host!r} is not HOST:PORT")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigInvalid("broker", f"{port!r} is not a port, in {host!r}")
    return f"{f'[{name}]' if ':' in name else name}:{port or default_port}"
