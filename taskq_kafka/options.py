"""The transport's options, checked, and what librdkafka gets of them.

`TransportOptions` is built once, at the entry point, and passed down; nothing else reads kombu's `transport_options`. librdkafka's
own options stay in the dict `kafka`, under their own names. No client is imported or made here.
"""

from __future__ import annotations

import difflib
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Protocol

from . import librdkafka
from .address import Address, bootstrap_servers, parse_address
from .clientlog import ErrorLog, client_logger
from .errors import ClientError, ConfigInvalid, TaskqKafkaError, map_error

_KOMBU_OWN: Final = frozenset(
    {
        "callback",
        "connect_retries_timeout",
        "errback",
        "interval_max",
        "interval_start",
        "interval_step",
        "max_retries",
        "polling_interval",
    }
)
"""Transport options that kombu itself reads."""

_SSL_NAMES: Final = {
    "ca_certs": "ssl.ca.location",
    "certfile": "ssl.certificate.location",
    "keyfile": "ssl.key.location",
    "password": "ssl.key.password",
    "ciphers": "ssl.cipher.suites",
}
"""Python's names for TLS options, as in Celery's `broker_use_ssl`, and librdkafka's."""

_DOTTED: Final = re.compile(r"\b[a-z]+(?:\.[a-z]+)+\b")
"""What may be an option's name in a text."""

_OURS: Final = {
    "acks": None,
    "allow.auto.create.topics": "auto_create",
    "auto.offset.reset": None,
    "bootstrap.servers": "broker",
    "client.id": "client_id",
    "default.topic.config": None,
    "delivery.timeout.ms": "publish_timeout",
    "enable.auto.commit": None,
    "enable.auto.offset.store": None,
    "enable.idempotence": None,
    "enable.partition.eof": None,
    "error_cb": None,
    "group.id": "group",
    "group.instance.id": None,
    "group.protocol": "group_protocol",
    "heartbeat.interval.ms": "heartbeat",
    "isolation.level": None,
    "logger": None,
    "max.in.flight": None,
    "max.in.flight.requests.per.connection": None,
    "message.timeout.ms": "publish_timeout",
    "metadata.broker.list": "broker",
    "on_commit": None,
    "on_delivery": None,
    "partition.assignment.strategy": None,
    "partitioner": None,
    "queued.max.messages.kbytes": "prefetch_kbytes",
    "request.required.acks": None,
    "session.timeout.ms": "session_timeout",
    "transactional.id": None,
}
"""librdkafka's options that the guarantees stand on, and our option to set instead, where there is one."""

GROUP_PROTOCOLS: Final = ("auto", "consumer", "classic")

RECORD_MAX_BYTES: Final = 16 * 1024 * 1024
"""The client's own limit. Far above a topic's default of 1 MiB: how large a record may be is the topic's to say."""


TRANSACTION_MS: Final = 10_000
"""After so long the broker ends a transaction whose owner was killed or frozen, if no heir has: until then it holds up readers."""


class KombuClient(Protocol):
    """What we read of a kombu.Connection."""

    hostname: Any
    port: Any
    userid: Any
    password: Any
    ssl: Any
    transport_cls: Any
    transport_options: Any


@dataclass(frozen=True)
class TransportOptions:
    """Everything the transport can be told. Durations in seconds."""

    bootstrap: str = "localhost:9092"
    """Bootstrap servers, `host:port` by comma."""

    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    prefix: str = ""
    """Stands before the name of every topic, group and transactional id."""

    group: str = "taskq"
    group_protocol: str = "auto"
    client_id: str = "taskq"

    session_timeout: float = 6.0
    """A worker that is silent for so long loses its partitions."""

    heartbeat: float | None = None
    """How often a worker shows that it lives, and learns of a rebalance. None: every second, or three times a session."""

    publish_timeout: float = 10.0
    """A record that is not acknowledged by then has failed; it will not be sent later."""

    connect_timeout: float = 10.0

    partitions: int = 12
    """Partitions of a new queue."""

    replication: int | None = None
    """Replicas of a new topic. None: the cluster's default."""

    auto_create: bool = True
    """Whether topics are made on first use."""

    dlq_retention: float = 90 * 86400.0
    prefetch_kbytes: int = 1024
    kafka: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    """librdkafka's own options, under their own names."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigInvalid: One is impossible.
        """
        for name in ("session_timeout", "publish_timeout", "connect_timeout"):
            _require(name, getattr(self, name), (int, float), least=0.001)
        if self.heartbeat is not None:
            _require("heartbeat", self.heartbeat, (int, float), least=0.001)
        _require("dlq_retention", self.dlq_retention, (int, float), least=1)
        _require("partitions", self.partitions, (int,), least=1)
        _require("prefetch_kbytes", self.prefetch_kbytes, (int,), least=1)
        if self.replication is not None:
            _require("replication", self.replication, (int,), least=1)
        _require("auto_create", self.auto_create, (bool,))
        for name in ("bootstrap", "prefix", "group", "client_id"):
            _require(name, getattr(self, name), (str,))
        if self.group_protocol not in GROUP_PROTOCOLS:
            raise ConfigInvalid(
                "group_protocol",
                f"{self.group_protocol!r} is not one of {', '.join(GROUP_PROTOCOLS)}",
                near=_near(self.group_protocol, GROUP_PROTOCOLS),
            )
        if self.heartbeat is not None and self.heartbeat * 2 > self.session_timeout:
            raise ConfigInvalid("heartbeat", "must be at most half of session_timeout")
        object.__setattr__(self, "kafka", _checked(self.kafka, tls=self.tls))

    @classmethod
    def from_kombu(cls, client: KombuClient) -> TransportOptions:
        """Build the options of a kombu connection: its URL, its `ssl`, and its `transport_options`.

        Raises:
            ConfigInvalid: The URL, a name or a value is wrong.
        """
        address = _address_of(client)
        given = {
            name: value
            for name, value in dict(client.transport_options or {}).items()
            if name not in _KOMBU_OWN
        }
        known = [each.name for each in fields(cls) if each.name not in _FROM_URL]
        for name in given:
            if name not in known:
                raise ConfigInvalid(
                    name, "there is no such transport option", near=_near(name, known)
                )
        kafka = {**_from_ssl(client.ssl), **dict(given.pop("kafka", None) or {})}
        return cls(
            bootstrap=address.bootstrap,
            tls=address.tls,
            user=address.user,
            password=address.password,
            kafka=kafka,
            **given,
        )

    @property
    def address(self) -> Address:
        """Where the brokers are, and how to log in."""
        return Address(self.bootstrap, self.tls, self.user, self.password)

    @property
    def heartbeat_ms(self) -> int:
        """`heartbeat` in milliseconds, with its default worked out."""
        seconds = self.heartbeat
        if seconds is None:
            seconds = min(1.0, self.session_timeout / 3)
        return max(1, int(seconds * 1000))

    def producer_config(self) -> dict[str, Any]:
        """Return librdkafka's configuration for a producer that loses and doubles nothing.

        Records go out as soon as they are handed over (`linger.ms` 0): what comes while a request is on its way fills the next.
        """
        return self._config(
            {
                "acks": "all",
                "enable.idempotence": "true",
                # With more, the first records to a new topic are lost: refused while its leader is not ready, they come
                # after later ones have been taken, and the broker calls them duplicates, which counts as a yes.
                "max.in.flight": "1",
                "partitioner": "murmur2_random",
                "linger.ms": "0",
                # librdkafka's report comes just before the caller's own deadline, so that it is definite.
                "message.timeout.ms": str(max(1, int(self.publish_timeout * 950))),
                "message.max.bytes": str(RECORD_MAX_BYTES),
                # The memory that records waiting for an absent broker may take.
                "queue.buffering.max.kbytes": "131072",
                "retry.backoff.ms": "20",
            },
            without=librdkafka.CONSUMER_ONLY,
        )

    def bulk_config(self) -> dict[str, Any]:
        """Return librdkafka's configuration for a producer of many records at once, for which nobody waits one by one.

        They are collected for a millisecond: handed over as fast as Python can, they would go out a few at a time, and each
        request costs the broker as much as a large one.
        """
        config = self.producer_config()
        if not _LINGER & self.kafka.keys():
            config["linger.ms"] = "1"
        return config

    def compressing_config(self) -> dict[str, Any]:
        """Return librdkafka's configuration for a producer of records that are too large as they are.

        Brokers check the size of what is compressed; here only librdkafka's own limits are in the way, so they are the highest
        there are. The user's own choice of compression, and of a limit, was that of the producer that could not send them.
        """
        own = {
            # The smallest, or nearly, of librdkafka's kinds and levels, and not slow: docs/decisions/0015-dead-letters-too-large.md
            "compression.type": "zstd",
            "compression.level": "9",
            "message.max.bytes": "1000000000",
            "queue.buffering.max.kbytes": "2000000",
        }
        config = self.producer_config()
        config.pop("compression.codec", None)
        return {**config, **own}

    def transactional_config(self, transactional_id: str) -> dict[str, Any]:
        """Return librdkafka's configuration for the producer of a shard's owner."""
        # What went well is told by the commit: a call for each of a thousand records would keep it waiting.
        own = {"delivery.report.only.error": True}
        return {**self.producer_config(), **self._transactional(transactional_id), **own}

    def _transactional(self, transactional_id: str) -> dict[str, str]:
        return {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": str(TRANSACTION_MS),
            "message.timeout.ms": str(TRANSACTION_MS),
            # librdkafka writes to each partition in a request of its own, and one transaction goes to many. The hazard for which
            # others have one in flight is of two batches to one partition; here there is one, which waits for the commit.
            "max.in.flight": "5",
            "linger.ms": "1000",
            # Else librdkafka gives all records without a key that come within twice that time to one partition, and so all tasks
            # that are due then to one worker.
            "sticky.partitioning.linger.ms": "0",
            "batch.size": "1000000",
            "batch.num.messages": "10000",
            # With 100, the default, a transaction that follows another at once takes so long: it has to wait for the other's end.
            "retry.backoff.ms": "1",
        }

    def moving_config(self, transactional_id: str) -> dict[str, Any]:
        """Return librdkafka's configuration for a producer of transactions that moves records from topic to topic.

        It compresses: what it moves may only have fitted because its first writer did.

        Args:
            transactional_id: Who has it last has it alone; with the prefix.
        """
        return {**self.compressing_config(), **self._transactional(transactional_id)}

    def owner_config(self, group: str, protocol: str) -> dict[str, Any]:
        """Return librdkafka's configuration for a member of a group that owns shards: it reads a whole log at a take-over."""
        return {
            **self.consumer_config(group, protocol),
            "queued.max.messages.kbytes": "16384",
            # How soon the end of a partition is told to whoever took it over. New records are told at once, and an idle owner
            # asks so often, for ever.
            "fetch.wait.max.ms": "100",
        }

    def consumer_config(self, group: str, protocol: str) -> dict[str, Any]:
        """Return librdkafka's configuration for a member of a group.

        Args:
            group: The group's id, with the prefix.
            protocol: `consumer` (KIP-848; its session and heartbeat are the group's own configs) or `classic`.
        """
        own = {
            **_READER,
            "group.id": group,
            "group.protocol": protocol,
            # Where there is no committed offset the start rule decides, not librdkafka.
            "auto.offset.reset": "error",
            "queued.max.messages.kbytes": str(self.prefetch_kbytes),
            # A classic member sees new partitions only by looking.
            "topic.metadata.refresh.interval.ms": "5000",
        }
        if protocol == "classic":
            own["partition.assignment.strategy"] = "cooperative-sticky"
            own["session.timeout.ms"] = str(int(self.session_timeout * 1000))
            own["heartbeat.interval.ms"] = str(self.heartbeat_ms)
        return self._config(own, without=librdkafka.PRODUCER_ONLY)

    def reader_config(self) -> dict[str, Any]:
        """Return librdkafka's configuration for reading by `assign()`, without a group.

        librdkafka wants a `group.id` all the same; nothing is ever committed under it.
        """
        own = {
            **_READER,
            "group.id": f"{self.prefix}taskq-reader",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": "10",
        }
        without = librdkafka.PRODUCER_ONLY | librdkafka.GROUP_ONLY
        return self._config(own, without=without)

    def admin_config(self) -> dict[str, Any]:
        """Return librdkafka's configuration for an AdminClient."""
        without = librdkafka.PRODUCER_ONLY | librdkafka.CONSUMER_ONLY
        return self._config({}, without=without)

    def _config(self, own: Mapping[str, str], *, without: frozenset[str]) -> dict[str, Any]:
        """Return what all clients share, with `own` and the user's options over it."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "client.id": self.client_id,
            "allow.auto.create.topics": "false",
            "log.connection.close": "false",
            "socket.keepalive.enable": "true",
            # Half of it is how long librdkafka waits between two connections while none is up: with the default of 100 a client
            # waits 50 ms between the bootstrap server and its leader or coordinator. It doubles, up to the maximum: the default of
            # that is 10 s, and so long would a client notice nothing of a broker that is back.
            "reconnect.backoff.ms": "20",
            "reconnect.backoff.max.ms": "2000",
            "logger": client_logger,
            "error_cb": ErrorLog(self.bootstrap),
            **self._login(),
            **own,
        }
        config.update((name, value) for name, value in self.kafka.items() if name not in without)
        return config

    def _login(self) -> dict[str, str]:
        """Return the options of encryption and login that the URL stands for."""
        if self.user is None:
            return {"security.protocol": "ssl"} if self.tls else {}
        return {
            "security.protocol": "sasl_ssl" if self.tls else "sasl_plaintext",
            "sasl.mechanism": "PLAIN",
            "sasl.username": self.user,
            "sasl.password": self.password or "",
        }


_LINGER: Final = frozenset({"linger.ms", "queue.buffering.max.ms"})
"""librdkafka's two names of one option. What a user says of it counts for all sends."""

_FROM_URL: Final = frozenset({"bootstrap", "tls", "user", "password"})

_READER: Final = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "enable.partition.eof": "true",
    "isolation.level": "read_committed",
    # The default of one second stalls every burst that is larger than the prefetch.
    "fetch.queue.backoff.ms": "5",
    # How long a fetch that found nothing may hold up one of a partition that was just resumed.
    "fetch.wait.max.ms": "50",
}


def map_client_error(
    error: ClientError | BaseException, config: Mapping[str, Any]
) -> TaskqKafkaError:
    """Map an error raised while a client was made from `config`: it names the option, and for a wrong name the nearest known."""
    mapped = map_error(error, address=str(config.get("bootstrap.servers", "")))
    if not isinstance(mapped, ConfigInvalid):
        return mapped
    why = mapped.why.removeprefix("Failed to create admin client: ")
    option = mapped.option or _named_in(why)
    near = _near(option, librdkafka.KNOWN) if "No such" in why else None
    file = config.get(option) if option.endswith(".location") else None
    if isinstance(file, str) and not os.access(file, os.R_OK):
        # librdkafka has only OpenSSL's words for it, which tell nothing.
        return ConfigInvalid(option, f"{file!r} is no file that can be read")
    return ConfigInvalid(option, f"librdkafka: {why}", near=near)


def _named_in(why: str) -> str:
    """Return the option that a text of librdkafka is about, as it names it in passing; empty where it names none."""
    if "SASL mechanism" in why:
        return "sasl.mechanism"
    return next((name for name in _DOTTED.findall(why) if name in librdkafka.KNOWN), "")


def _address_of(client: KombuClient) -> Address:
    """Return the address of a kombu connection, which has parsed the URL or not."""
    password: Callable[[], str] | str | None = client.password
    secret = password() if callable(password) else password
    tls = bool(client.ssl) or client.transport_cls == "taskqs"
    if "://" in (client.hostname or ""):
        parsed = parse_address(client.hostname)
        user = parsed.user or client.userid or None
        return Address(parsed.bootstrap, parsed.tls or tls, user, parsed.password or secret)
    bootstrap = bootstrap_servers(client.hostname, client.port)
    return Address(bootstrap, tls, client.userid or None, secret)


def _from_ssl(given: Any) -> dict[str, Any]:
    """Return librdkafka's options for kombu's `ssl`: a bool, or a dict with Python's names."""
    if not isinstance(given, Mapping):
        return {}
    options: dict[str, Any] = {}
    for name, value in given.items():
        plain = name.removeprefix("ssl_")
        if plain == "cert_reqs":
            checks = value not in (ssl.CERT_NONE, "none", "CERT_NONE")
            options["enable.ssl.certificate.verification"] = checks
        elif plain == "check_hostname":
            options["ssl.endpoint.identification.algorithm"] = "https" if value else "none"
        elif plain in _SSL_NAMES:
            options[_SSL_NAMES[plain]] = value
        else:
            raise ConfigInvalid(
                name, "there is no such ssl option", near=_near(plain, tuple(_SSL_NAMES))
            )
    return options


def _checked(kafka: Mapping[str, Any], *, tls: bool) -> dict[str, str]:
    """Return librdkafka's options as text, without those that are not the user's to set."""
    checked: dict[str, str] = {}
    for name, value in kafka.items():
        if name in _OURS:
            instead = _OURS[name]
            advice = f"; use the option {instead!r}" if instead else ": the guarantees stand on it"
            raise ConfigInvalid(f"kafka.{name}", f"is set by taskq{advice}")
        if not isinstance(value, (str, int, float)):
            raise ConfigInvalid(f"kafka.{name}", f"a {type(value).__name__} is no option's value")
        checked[name] = str(value).lower() if isinstance(value, bool) else str(value)
    if tls and checked.get("security.protocol", "ssl").lower() not in ("ssl", "sasl_ssl"):
        raise ConfigInvalid("kafka.security.protocol", "is without TLS, but the URL is taskqs://")
    return checked


def _require(
    name: str, value: object, types: tuple[type, ...], *, least: float | None = None
) -> None:
    """Raise ConfigInvalid unless the value is of a type, and not below the least one."""
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        wanted = " or ".join(each.__name__ for each in types)
        raise ConfigInvalid(name, f"{value!r} is not of type {wanted}")
    if least is not None and isinstance(value, (int, float)) and not value >= least:
        raise ConfigInvalid(name, f"{value!r} is less than {least}")


def _near(name: str, known: tuple[str, ...] | list[str] | frozenset[str]) -> str | None:
    """Return the known name that was probably meant."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return found[0] if found else None
