"""The kombu transport `memory://`: from a URL to the cluster that all connections of this process share."""

from __future__ import annotations

from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import virtual

from taskq.memory.admin import Admin
from taskq.memory.channel import Channel
from taskq.memory.cluster import cluster_named
from taskq.memory.errors import QueueMissing, QueueNameInvalid, RecordTooLarge
from taskq.memory.logs import Logs
from taskq.memory.options import MemoryOptions
from taskq.memory.publisher import Publisher


class Transport(virtual.Transport):  # type: ignore[misc]  # kombu counts as untyped
    """kombu's transport on a cluster in memory."""

    Channel = Channel
    driver_type = "memory"
    driver_name = "taskq"
    polling_interval = None  # virtual transports sleep this long after an empty poll

    connection_errors = (ConnectionError,)
    recoverable_connection_errors = connection_errors
    channel_errors = (ChannelError, QueueMissing, QueueNameInvalid, RecordTooLarge)
    recoverable_channel_errors = ()

    implements = virtual.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset({"direct"}), heartbeats=False
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        """Check the options.

        Raises:
            OptionInvalid: One has an unknown name or an impossible value.
        """
        super().__init__(client, **kwargs)
        self.options = MemoryOptions.of(client.transport_options or {})
        name = client.hostname or ""
        self.cluster = cluster_named(name)
        self.clock = self.cluster.clock
        self.publisher = Publisher(self.cluster, self.options)
        self.logs = Logs(self.cluster, self.options, self.publisher)
        self.admin = Admin(self.cluster, self.options)
        self.state = self.cluster.bindings.setdefault(self.options.prefix, virtual.BrokerState())

    def establish_connection(self) -> Transport:
        """Return at once: the broker is here."""
        return self

    def verify_connection(self, connection: Any) -> bool:
        """Return True: the broker is here."""
        return True

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver one message to its consumer's callback.

        Raises:
            TimeoutError: None came within `timeout` seconds.
        """
        with self.cluster.changed:
            found = self.cluster.changed.wait_for(self._next_delivery, timeout)
        if found is None:
            raise TimeoutError
        callback, message = found
        callback(message)

    def _next_delivery(self) -> Any:
        # The channels take turns: the one that had something goes to the end of the line.
        for channel in list(self.channels):
            found = channel.next_delivery()
            if found is not None:
                self.channels.remove(channel)
                self.channels.append(channel)
                return found
        return None

    def driver_version(self) -> str:
        """Return nothing to speak of."""
        return "N/A"

    def close_connection(self, connection: Any) -> None:
        """Close all channels of this connection; the cluster stays for the others."""
        for channel in list(self.channels):
            channel.close()
