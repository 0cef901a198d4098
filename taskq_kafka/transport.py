"""The kombu transport `taskq://` (and `taskqs://`, with TLS): from a URL to clients.

One publisher, one set of admin clients a process and configuration; one consumer a queue and channel. Errors of the client are
mapped in errors.py; those in `connection_errors` make kombu connect anew.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import confluent_kafka
from kombu.exceptions import ChannelError
from kombu.transport import virtual

from .address import parse_address
from .channel import Channel
from .errors import CHANNEL_ERRORS, CONNECTION_ERRORS
from .options import TransportOptions
from .publisher import Publisher
from .shared import shared
from .topics import topic_of

if TYPE_CHECKING:
    # Imported where they are first used: a program that only sends waits for none of them.
    from .admin import Admin
    from .consumer import QueueConsumer
    from .embedded import EmbeddedBroker
    from .groups import Groups
    from .logs import Logs

DEFAULT_PORT = 9092

_states: dict[tuple[str, str], virtual.BrokerState] = {}
_consumers: weakref.WeakSet[QueueConsumer] = weakref.WeakSet()


class Transport(virtual.Transport):  # type: ignore[misc]  # kombu ships no types
    """kombu's transport on Apache Kafka."""

    Channel = Channel
    default_port = DEFAULT_PORT
    driver_type = "kafka"
    driver_name = "confluent-kafka"
    can_parse_url = True  # kombu's own parser refuses `h1:9092,h2:9092`
    polling_interval = None  # virtual transports sleep this long after an empty poll
    tls = False

    connection_errors = CONNECTION_ERRORS
    recoverable_connection_errors = CONNECTION_ERRORS
    channel_errors = (ChannelError, *CHANNEL_ERRORS)
    # None: what kombu thinks recoverable it publishes again, and a record that failed may have been sent.
    recoverable_channel_errors: tuple[type[BaseException], ...] = ()

    implements = virtual.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset({"direct"}), heartbeats=False
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        """Check the options; nothing is connected yet.

        Raises:
            ConfigInvalid: An option has an unknown name or an impossible value.
        """
        super().__init__(client, **kwargs)
        self.options = TransportOptions.from_kombu(client)
        self.arrived = threading.Condition()
        """Notified when a message is ready for `drain_events` or `basic_get`."""
        # Bindings belong to the cluster, not to a connection: all connections of the process share what it declared.
        key = (self.options.bootstrap, self.options.prefix)
        self.state = _states.setdefault(key, virtual.BrokerState())

    @classmethod
    def as_uri(cls, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return a URL for people to read."""
        return parse_address(uri).uri(include_password=include_password, mask=mask)

    def establish_connection(self) -> Transport:
        """Make sure that a broker answers; blocks for at most `connect_timeout`.

        Raises:
            BrokerUnreachable: None did; it names the address.
        """
        self.admin.check(timeout=self.options.connect_timeout)
        return self

    def verify_connection(self, connection: Any) -> bool:
        """Return True: librdkafka connects again by itself."""
        return True

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver one message to its consumer's callback.

        Raises:
            TimeoutError: None came (kombu knows it as socket.timeout) within `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not any(channel.deliver_next() for channel in list(self.channels)):
            # A ready record may have come between the look and the wait: waits are short, the condition only shortens them.
            remaining = 0.05 if deadline is None else min(0.05, deadline - time.monotonic())
            if remaining <= 0:
                raise TimeoutError
            with self.arrived:
                self.arrived.wait(remaining)

    @property
    def publisher(self) -> Publisher:
        """The process's publisher for these options; any thread may use it."""
        return shared(Publisher, self.options)

    @property
    def admin(self) -> Admin:
        """Questions to the broker; any thread may use it."""
        from .admin import Admin

        return shared(Admin, self.options)

    @property
    def groups(self) -> Groups:
        """The consumer group of these options."""
        from .groups import Groups

        return shared(Groups, self.options)

    @property
    def logs(self) -> Logs:
        """What outlives processes: compacted topics of taskq's own; any thread may use it."""
        from .logs import Logs

        return shared(Logs, self.options)

    def ensure_queue(self, queue: str) -> None:
        """Make a queue's topic if it is missing and topics are made on first use."""
        if self.options.auto_create:
            self.admin.create_queue(queue, timeout=self.options.connect_timeout)

    def open_consumer(
        self,
        queue: str,
        *,
        tags: Iterator[int],
        **callbacks: Any,
    ) -> QueueConsumer:
        """Join the group on a queue, in the protocol that the group speaks; `callbacks` as in `QueueConsumer`."""
        from .consumer import QueueConsumer

        consumer = QueueConsumer(self.options, queue, groups=self.groups, tags=tags, **callbacks)
        _consumers.add(consumer)
        return consumer

    def own_members(self) -> set[str]:
        """Return the member ids of this process, for all queues."""
        return {consumer.member_id for consumer in list(_consumers)}

    def topic_of(self, queue: str) -> str:
        """Return the topic of a queue."""
        return topic_of(self.options.prefix, queue)

    def start_embedded(self) -> EmbeddedBroker:
        """Start a broker in this process; it has nothing to do with the one of this connection."""
        from .embedded import EmbeddedBroker

        return EmbeddedBroker()

    def driver_version(self) -> str:
        """Return the client's version and librdkafka's."""
        return f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})"

    def close_connection(self, connection: Any) -> None:
        """Close all channels of this connection; the process's producer stays for the others."""
        for channel in list(self.channels):
            channel.close()


class TLSTransport(Transport):
    """The same over TLS: `taskqs://`."""

    tls = True
