"""A kombu transport for Apache Kafka: `taskq://HOST:PORT`, and `taskqs://` with TLS.

Importing this package makes the URLs known to kombu, and so to Celery; where the distribution is installed kombu finds it by
itself. No Kafka client is loaded before a connection is made.

PYTEST_DONT_REWRITE (see taskq/__init__.py)
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES

__all__ = ["KOMBU_SERIALIZER", "register"]

KOMBU_SERIALIZER: tuple[Any, ...] = (None, None, "application/x-taskq", "utf-8")
"""No serializer at all: kombu loads the entry points of its serializers when it starts, and so imports this package."""


def register() -> None:
    """Make the transport's URLs known to kombu; done when this package is imported."""
    TRANSPORT_ALIASES["taskq"] = "taskq_kafka.transport:Transport"
    TRANSPORT_ALIASES["taskqs"] = "taskq_kafka.transport:TLSTransport"


register()
