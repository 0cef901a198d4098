"""Whether nobody listens at any address of a cluster. librdkafka tells of a failed connection, not whether all of them failed."""

from __future__ import annotations

import socket
from typing import Final
from urllib.parse import urlsplit

from .address import DEFAULT_PORT

_SILENT: Final = 0.5
"""Seconds after which an address has not refused: a firewall, a host that is far away or down."""


def is_refused(bootstrap: str) -> bool:
    """Return whether each address refuses the connection at once, which somebody who listens never does.

    Blocks half a second for each that is silent.

    Args:
        bootstrap: `host:port`, by comma.
    """
    return all(map(_refuses, bootstrap.split(",")))


def _refuses(address: str) -> bool:
    try:
        place = urlsplit(f"//{address.strip()}")
        host, port = place.hostname or "", place.port or DEFAULT_PORT
        socket.create_connection((host, port), timeout=_SILENT).close()
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False  # silence, or a name that nobody knows, which may be known in a moment
    return False
