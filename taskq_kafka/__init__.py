"""A kombu transport for Apache Kafka: `taskq://HOST:PORT`, and `taskqs://` with TLS.

Importing this package makes the URLs known to kombu, and so to Celery; where the distribution is installed kombu finds it by
itself. Neither a Kafka client nor kombu is loaded before it is used: pool processes, which use neither, have this package in them
for its codec of headers.

PYTEST_DONT_REWRITE (see taskq/__init__.py)
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["KOMBU_SERIALIZER", "register"]

KOMBU_SERIALIZER: tuple[Any, ...] = (None, None, "application/x-taskq", "utf-8")
"""No serializer at all: kombu loads the entry points of its serializers when it starts, and so imports this package."""

_TRANSPORTS = "kombu.transport"


def register() -> None:
    """Make the transport's URLs known to kombu; done when kombu's transports and this package have been imported."""
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES["taskq"] = "taskq_kafka.transport:Transport"
    TRANSPORT_ALIASES["taskqs"] = "taskq_kafka.transport:TLSTransport"


class _RegisterLater:
    """Registers in the moment in which kombu's transports are imported, whoever does that. A finder of `sys.meta_path`."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find kombu's transports as they would be found otherwise, and register once they are loaded."""
        if name != _TRANSPORTS:
            return None
        sys.meta_path.remove(cls)
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                load(module)
                register()

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]  # of this one module's own loader
        return spec


if _TRANSPORTS in sys.modules:
    register()
else:
    sys.meta_path.insert(0, _RegisterLater)
