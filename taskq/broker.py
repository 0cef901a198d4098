"""The only user of kombu: settings become a connection, and from it a publisher, an admin and channels.

What kombu has no words for comes as attributes of its transport, by the Protocols of protocols.py.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import Any, cast
from weakref import WeakSet

from taskq.address import Address, parse_address
from taskq.clock import Clock, SystemClock
from taskq.errors import BrokerRefused, BrokerUnreachable, InvalidSetting
from taskq.message import JSON, JSON_ONLY, Format, Formats
from taskq.near import nearest
from taskq.protocols import Admin, EmbeddedBroker, IntakeChannel, Outgoing, Publisher
from taskq.settings import SETTINGS, Settings, place_of
from taskq.timing.shards import Logs, Write

_REFUSED_SECONDS = 2.0
"""How long a command waits for a broker where nobody listens: some attempts, should one just be starting."""

_TRANSPORTS = {
    "taskq": "taskq_kafka.transport:Transport",
    "taskqs": "taskq_kafka.transport:TLSTransport",
    "memory": "taskq.memory:Transport",
}
_PASSED_ON = (
    "auto_create",
    "connect_timeout",
    "dlq_retention",
    "group",
    "group_protocol",
    "kafka",
    "partitions",
    "prefix",
    "publish_timeout",
    "replication",
    "session_timeout",
)
"""Settings that are options of the transport, under the same names."""


class Broker:
    """The broker of one app in one process. Connects when it is first used; any thread may use it.

    It belongs to the process that made it: after a fork the app makes another.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address: Address = parse_address(settings.broker)
        self._lock = threading.Lock()
        self._shared: Any = None
        self._publisher: Publisher | None = None
        # A channel refers to its connection, and lets go of it when it is closed.
        self._channels: WeakSet[Any] = WeakSet()

    @property
    def publisher(self) -> Publisher:
        """Writes records; one a process, any thread may use it."""
        if self._publisher is None:
            self._publisher = cast(Publisher, self._transport().publisher)
        return self._publisher

    @property
    def admin(self) -> Admin:
        """Questions to the broker. Its errors are the transport's: use it within `errors()`."""
        return cast(Admin, self._transport().admin)

    @property
    def logs(self) -> Logs:
        """What outlives processes: timers, schedules, revocations. Its errors are the transport's, as the admin's are."""
        return cast(Logs, self._transport().logs)

    @property
    def clock(self) -> Clock:
        """The clock by which delays count: the system's, or that of `memory://`, which tests move."""
        if self.address.scheme == "memory":
            return cast(Clock, self._transport().clock)
        return SystemClock()

    def publish(self, messages: Sequence[Outgoing | Write]) -> Sequence[Exception | None]:
        """Write records to queues, and to the logs; blocks until each is acknowledged, at most `publish_timeout` seconds.

        Returns:
            For each message None, or the error. An error means unknown, not unsent, unless its attribute `sent` is False.
        """
        timeout = self.settings.publish_timeout
        try:
            publisher = self.publisher
            logs = self.logs if Write in map(type, messages) else None
        except (ConnectionError, ValueError) as error:
            return [_unsent(error)] * len(messages)
        if logs is None:
            return publisher.publish(cast("Sequence[Outgoing]", messages), timeout=timeout)
        records = [message for message in messages if isinstance(message, Outgoing)]
        writes = [message for message in messages if isinstance(message, Write)]
        kept = iter(logs.append(writes, timeout=timeout))
        sent = iter(publisher.publish(records, timeout=timeout) if records else ())
        return [next(sent if isinstance(message, Outgoing) else kept) for message in messages]

    def open_channel(self) -> IntakeChannel:
        """Return a new channel on a connection of its own; the calling thread owns it.

        Raises:
            BrokerUnreachable: No broker answered within `connect_timeout` seconds.
            InvalidSetting: An option is wrong.
        """
        with self.errors():
            connection = self._connect()
            channel = connection.channel()
        with self._lock:
            self._channels.add(connection)
        return cast(IntakeChannel, channel)

    def check(self, *, is_patient: bool = True) -> None:
        """Raise `BrokerUnreachable` if no broker answers within `connect_timeout` seconds.

        Args:
            is_patient: Whether it waits as long where nobody listens at all: the broker may be starting. Else, unless somebody has
                set the time, two seconds are enough.
        """
        is_set = self.settings.source("connect_timeout") != "default"
        refused_after = None if is_patient or is_set else _REFUSED_SECONDS
        with self.errors():
            self.admin.check(timeout=self.settings.connect_timeout, refused_after=refused_after)

    @property
    def refusals(self) -> tuple[type[Exception], ...]:
        """Errors that say that the broker refuses something, such as missing rights: ours, and those of the transport in use."""
        own = () if self._shared is None else self._shared.channel_errors
        return (BrokerRefused, *own)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the transport's errors into ours.

        Raises:
            BrokerUnreachable: For those that are a ConnectionError.
            InvalidSetting: For those that name an `option`: the client does not take it.
            BrokerRefused: For others that are a ValueError, LookupError or PermissionError, or among the transport's
                `channel_errors`, which is kombu's word for "the request failed, the connection lives".
        """
        refused: tuple[type[Exception], ...] = (
            ValueError,
            LookupError,
            PermissionError,
            *self.refusals,
        )
        try:
            yield
        except BrokerRefused:
            raise
        except ConnectionError as error:
            raise BrokerUnreachable(
                str(self.address),
                getattr(error, "why", str(error)),
                advice=getattr(error, "advice", ""),
            ) from error
        except refused as error:
            option = getattr(error, "option", None)
            if isinstance(option, str):
                raise self._invalid(option, error) from error
            raise BrokerRefused(str(self.address), str(error)) from error

    def _invalid(self, option: str, error: Exception) -> InvalidSetting:
        """Return the error about a setting that the client does not take; one that is none of ours is librdkafka's."""
        is_known = option in SETTINGS or option.startswith("kafka.")
        name = option if is_known else f"kafka.{option}" if option else "kafka"
        near = getattr(error, "near", None)
        why = getattr(error, "why", str(error)) + (f"; did you mean {near!r}?" if near else "")
        # The reason says what is wrong; the value may be a secret.
        return InvalidSetting(
            name, "", why, source=place_of(name, self.settings.source(name)), secret=True
        )

    def close(self) -> None:
        """Close all connections; unacknowledged records have been waited for already."""
        with self._lock:
            connections, self._channels = [*self._channels, self._shared], WeakSet()
            self._shared = self._publisher = None
        for connection in connections:
            if connection is not None:
                connection.release()

    def _transport(self) -> Any:
        with self._lock:
            if self._shared is None:
                self._shared = self._connect()
            return self._shared.transport

    def _connect(self) -> Any:
        """Return a kombu connection; it connects when it is used."""
        kombu = _kombu()
        address, settings = self.address, self.settings
        options = {name: getattr(settings, name) for name in _PASSED_ON}
        options["client_id"] = settings.name or socket.gethostname()
        return kombu.Connection(
            hostname=address.hosts,
            userid=address.username,
            password=address.password,
            ssl=address.scheme == "taskqs",
            transport=_TRANSPORTS[address.scheme],
            connect_timeout=settings.connect_timeout,
            transport_options=options,
        )


def start_embedded() -> EmbeddedBroker:
    """Start a broker in this process, for development; blocks until it has an address.

    Raises:
        BrokerUnreachable: It did not start.
    """
    # Nothing is connected for it: settings and address play no part.
    broker = Broker(Settings())
    try:
        with broker.errors():
            return cast(EmbeddedBroker, broker._transport().start_embedded())
    finally:
        broker.close()


def _kombu() -> Any:
    """Return kombu, which is typed only in part; imported late, because a program that sends nothing need not spend 60 ms."""
    kombu: Any = import_module("kombu")
    import_module("kombu.serialization")
    return kombu


def _unsent(error: Exception) -> Exception:
    """Return an error that says nothing was sent."""
    error.sent = False  # type: ignore[attr-defined]  # read by getattr, as protocols.py has it
    return error


def formats(settings: Settings) -> Formats:
    """Return what may be read, by content type (setting `accept_content`).

    Raises:
        InvalidSetting: A serializer does not exist.
    """
    if settings.accept_content == (JSON.name,):
        return JSON_ONLY
    found = [_format(name, "accept_content") for name in settings.accept_content]
    return MappingProxyType({each.content_type: each for each in found})


def written_format(settings: Settings) -> Format:
    """Return how arguments are written (setting `serializer`).

    Raises:
        InvalidSetting: The serializer does not exist.
    """
    return _format(settings.serializer, "serializer")


def _format(name: str, setting: str) -> Format:
    if name in (JSON.name, JSON.content_type):
        return JSON
    registry = _kombu().serialization.registry
    name = registry.type_to_name.get(name, name)
    if name not in registry.name_to_type:
        near = nearest(name, registry.name_to_type)
        hint = f"; did you mean {near!r}?" if near else ""
        raise InvalidSetting(setting, name, f"there is no such serializer{hint}")
    content_type, content_encoding, _ = registry._encoders[name]
    return Format(name, content_type, content_encoding, _dumps(name), _loads(content_type))


def _dumps(name: str) -> Callable[[Any], bytes]:
    serialization = _kombu().serialization

    def dumps(value: Any) -> bytes:
        try:
            _, _, data = serialization.dumps(value, serializer=name)
        except Exception as error:  # a serializer's own errors have no common root
            raise ValueError(str(error)) from error
        return data if isinstance(data, bytes) else data.encode()

    return dumps


def _loads(content_type: str) -> Callable[[bytes, str], Any]:
    serialization = _kombu().serialization

    def loads(data: bytes, encoding: str) -> Any:
        try:
            return serialization.loads(data, content_type, encoding, accept={content_type})
        except Exception as error:  # as in dumps
            raise ValueError(str(error)) from error

    return loads
