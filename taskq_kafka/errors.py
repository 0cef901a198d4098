"""What can go wrong between us and Kafka, and the one place where a client's error becomes ours.

    TaskqKafkaError                 .sent: False = certainly not sent, None = unknown
    ├── BrokerUnreachable           ConnectionError; .address .why .advice
    │   └── AuthenticationFailed    TLS or SASL was refused
    ├── ConnectionBroken            ConnectionError; .code .name .why; it may work again by itself (retriable)
    ├── HandleDead                  ConnectionError; .code .name .why; only a new client helps (fatal)
    ├── ClaimGivenUp                ConnectionError; .tags
    ├── NotThisProcess              ConnectionError; .pid
    ├── DeliveryFailed              .queue .why .code .retriable
    ├── TopicMissing                LookupError; .topic
    ├── TopicUnauthorized           PermissionError; .topic .why
    ├── RequestRefused              .code .name .why; the broker said no, and will again
    │   └── ClockWrong              because of the time that this machine's clock shows
    └── (a ValueError each: the caller's mistake)
        ├── ConfigInvalid           .option .why .near
        ├── HeaderInvalid           .header .why
        ├── LogUnfit                .log .topic .why
        ├── RecordTooLarge          .queue .why
        │   └── LetterTooLarge      .topic
        ├── RecordUnreadable        .why
        └── TopicInvalid            .topic .why

Standard library only: errors of the client are told apart by number (codes.py), so that pure modules and their tests need no
client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol

from .answers import read_answer
from .codes import (
    AUTHENTICATION,
    COMMIT_REFUSED,
    COMMIT_REPEAT,
    FATAL,
    RETRIABLE,
    TOO_LARGE,
    TOPIC_ABSENT,
    UNAUTHORIZED,
    Code,
)

__all__ = [
    "CHANNEL_ERRORS",
    "COMMIT_REFUSED",
    "COMMIT_REPEAT",
    "CONNECTION_ERRORS",
    "AuthenticationFailed",
    "BrokerUnreachable",
    "ClaimGivenUp",
    "ClockWrong",
    "ClientError",
    "ConfigInvalid",
    "ConnectionBroken",
    "DeliveryFailed",
    "HandleDead",
    "HeaderInvalid",
    "LetterTooLarge",
    "LogUnfit",
    "NotThisProcess",
    "RecordTooLarge",
    "RecordUnreadable",
    "RequestRefused",
    "TaskqKafkaError",
    "TopicInvalid",
    "TopicMissing",
    "TopicUnauthorized",
    "map_error",
]


class TaskqKafkaError(Exception):
    """Root of all errors of this package. All can be pickled, with their attributes."""

    sent: bool | None = None
    """Of a failed publish: False if the record was certainly not sent, None if nobody knows."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes, so that constructors may have any signature."""
        return _restore, (type(self), str(self), self.__dict__)


def _restore(
    cls: type[TaskqKafkaError], message: str, attributes: dict[str, Any]
) -> TaskqKafkaError:
    """Rebuild a pickled error without running its constructor."""
    error = cls.__new__(cls)
    error.args = (message,)
    error.__dict__.update(attributes)
    return error


class BrokerUnreachable(TaskqKafkaError, ConnectionError):
    """No broker answered at the address. `advice` says what to do where somebody else, or one that cannot be used, did."""

    _what = "no Kafka broker answers at"
    _otherwise = "start it or correct the address"

    def __init__(self, address: str, why: str = "no answer") -> None:
        self.address = address
        self.why, self.advice = read_answer(why)
        super().__init__(f"{self._what} {address} ({self.why}); {self.advice or self._otherwise}")


class AuthenticationFailed(BrokerUnreachable):
    """A broker is there, but TLS or SASL was refused; it will be until the settings change."""

    _what = "the connection is refused by the broker at"
    _otherwise = "check user, password and the options ssl.* and sasl.*"

    def __init__(self, address: str, why: str) -> None:
        super().__init__(address, why)
        self.advice = self.advice or self._otherwise


class _ClientError(TaskqKafkaError):
    """An error that carries what the client told."""

    _message = "Kafka: {why} ({name})"

    def __init__(self, code: int, name: str, why: str) -> None:
        self.code = code
        self.name = name
        self.why = why
        super().__init__(self._message.format(code=code, name=name, why=why))


class ConnectionBroken(_ClientError, ConnectionError):
    """A request got no answer, or the broker was not ready for it; the same request may succeed later."""

    _message = "no usable answer from Kafka: {why} ({name}); it may work again by itself"


class HandleDead(_ClientError, ConnectionError):
    """The client object cannot be used any more (fenced, or its state lost); a new one can."""

    _message = "the Kafka client has to be replaced: {why} ({name})"


class RequestRefused(_ClientError):
    """The broker understood the request and refused it."""

    _message = "Kafka refused the request: {why} ({name})"


class ClockWrong(RequestRefused):
    """The broker refused a record for its time, which is that of this machine's clock. Nothing was written."""

    sent = False
    _message = (
        "Kafka refused the time of this machine's clock: {why} ({name}); set the clock, or raise "
        "message.timestamp.after.max.ms of the topic (`taskq topics apply`)"
    )


class ClaimGivenUp(TaskqKafkaError, ConnectionError):
    """A claim was abandoned before the broker answered. Whether it was taken is unknown: the records must not run."""

    def __init__(self, tags: Iterable[int]) -> None:
        self.tags: tuple[int, ...] = tuple(tags)
        super().__init__(
            f"the claim of {len(self.tags)} records was given up without an answer from the broker; "
            "they will not run here, and count as lost if the broker took it"
        )


class NotThisProcess(TaskqKafkaError, ConnectionError):
    """A client made before a fork was used in the child, where it is dead."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        super().__init__(
            f"this Kafka client belongs to process {pid}, from which this one was forked; make a new connection here"
        )


class DeliveryFailed(TaskqKafkaError):
    """A record was not acknowledged. Unless `sent` is False it may nevertheless stand in the queue."""

    def __init__(
        self,
        queue: str,
        why: str,
        *,
        code: int | None = None,
        retriable: bool = False,
        sent: bool | None = None,
    ) -> None:
        self.queue = queue
        self.why = why
        self.code = code
        self.retriable = retriable
        self.sent = sent
        certainty = "was not sent" if sent is False else "may or may not have been sent"
        super().__init__(f"a record for queue {queue!r} {certainty}: {why}")


class TopicMissing(TaskqKafkaError, LookupError):
    """A topic does not exist and is not to be made here."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        super().__init__(
            f"topic {topic!r} does not exist; create it (`taskq topics apply`) or set auto_create"
        )


class TopicUnauthorized(TaskqKafkaError, PermissionError):
    """The broker's access rules forbid what was asked of a topic or of the cluster."""

    def __init__(self, topic: str, why: str) -> None:
        self.topic = topic
        self.why = why
        super().__init__(
            f"no right to use {topic or 'the cluster'} ({why}); ask the cluster's operator"
        )


class TransactionOpen(TaskqKafkaError):
    """A topic cannot be read to its end, as another program's transaction on it is open."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        super().__init__(
            f"an open transaction of another program hides the end of topic {topic!r}; try again when it has ended"
        )


class ConfigInvalid(TaskqKafkaError, ValueError):
    """An option has an unknown name or an impossible value."""

    def __init__(self, option: str, why: str, *, near: str | None = None) -> None:
        self.option = option
        self.why = why
        self.near = near
        hint = f"; did you mean {near!r}?" if near else ""
        super().__init__(f"option {option!r}: {why}{hint}")


class HeaderInvalid(TaskqKafkaError, ValueError):
    """A header cannot be written on a record."""

    sent = False

    def __init__(self, header: str, why: str) -> None:
        self.header = header
        self.why = why
        super().__init__(f"header {header!r}: {why}")


class LogUnfit(TaskqKafkaError, ValueError):
    """The topic of a log is missing, would lose what is written to it, or we may not use it; `why` ends with what to do."""

    sent = False

    def __init__(self, log: str, topic: str, why: str) -> None:
        self.log = log
        self.topic = topic
        self.why = why
        super().__init__(f"topic {topic!r} cannot serve as the log {log!r}: {why}")


class RecordTooLarge(TaskqKafkaError, ValueError):
    """A record is larger than the client or the topic allows."""

    sent = False

    def __init__(self, queue: str, why: str) -> None:
        self.queue = queue
        self.why = why
        super().__init__(
            f"a record for queue {queue!r} was not sent: {why}; send a reference to the data instead, "
            "or raise message.max.bytes here and max.message.bytes of the topic"
        )


class LetterTooLarge(RecordTooLarge):
    """A dead letter does not fit its topic, not even compressed; it stays where it is until the topic takes it."""

    def __init__(self, queue: str, topic: str, size: int, why: str) -> None:
        self.queue = queue
        self.topic = topic
        self.why = why
        TaskqKafkaError.__init__(
            self,
            f"a dead letter of {size} bytes for queue {queue!r} was not written, not even compressed: {why}; "
            f"raise max.message.bytes of the topic {topic!r}",
        )


class RecordUnreadable(TaskqKafkaError, ValueError):
    """A record's headers are not UTF-8, or not the JSON they are said to be."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"unreadable record: {why}")


class TopicInvalid(TaskqKafkaError, ValueError):
    """A name is none that Kafka accepts for a topic."""

    def __init__(self, topic: str, why: str) -> None:
        self.topic = topic
        self.why = why
        super().__init__(f"topic name {topic!r}: {why}")


CONNECTION_ERRORS: tuple[type[BaseException], ...] = (
    BrokerUnreachable,
    ConnectionBroken,
    HandleDead,
    ClaimGivenUp,
    NotThisProcess,
    ConnectionError,
)
"""kombu: after one of these the connection is closed and made again."""

CHANNEL_ERRORS: tuple[type[BaseException], ...] = (
    DeliveryFailed,
    RequestRefused,
    TopicMissing,
    TopicUnauthorized,
    RecordTooLarge,
    TopicInvalid,
    TransactionOpen,
)
"""kombu: the operation failed, the connection lives."""


class ClientError(Protocol):
    """What we read of confluent_kafka.KafkaError."""

    def code(self) -> int:
        """Return its number."""

    def name(self) -> str:
        """Return its name."""

    def str(self) -> str:
        """Return what happened."""

    def fatal(self) -> bool:
        """Return whether the client is of no more use."""


def map_error(
    error: ClientError | BaseException, *, address: str = "", topic: str = ""
) -> TaskqKafkaError:
    """Turn a client's error into ours; the one place where that is decided.

    Args:
        error: A KafkaError, or a KafkaException that holds one. An error of ours is returned as it is.
        address: The bootstrap servers, for errors that name them.
        topic: The topic that was asked for, for errors that name it.

    Returns:
        The error to raise, with `from` the client's.
    """
    if isinstance(error, TaskqKafkaError):
        return error
    told: Any = error.args[0] if isinstance(error, BaseException) and error.args else error
    if not hasattr(told, "code"):
        return RequestRefused(0, type(error).__name__, str(told))
    code, name, why = int(told.code()), str(told.name()), str(told.str())
    if code in AUTHENTICATION:
        return AuthenticationFailed(address, why)
    if told.fatal() or code in FATAL:
        return HandleDead(code, name, why)
    if code in (Code.LOCAL_TRANSPORT, Code.LOCAL_ALL_BROKERS_DOWN, Code.LOCAL_RESOLVE) and address:
        return BrokerUnreachable(address, why)
    if code in TOPIC_ABSENT and topic:
        return TopicMissing(topic)
    return _map_mistake(code, name, why, topic) or (
        ConnectionBroken(code, name, why) if code in RETRIABLE else RequestRefused(code, name, why)
    )


def _map_mistake(code: int, name: str, why: str, topic: str) -> TaskqKafkaError | None:
    """Return the error of a caller's mistake, or None if it is none."""
    if code == Code.INVALID_TIMESTAMP:
        return ClockWrong(code, name, why)
    if code in UNAUTHORIZED:
        # Of a group the reason tells; to name the topic would send its reader after the wrong right.
        return TopicUnauthorized(topic if code == Code.TOPIC_AUTHORIZATION_FAILED else "", why)
    if code in TOO_LARGE:
        return RecordTooLarge(topic, why)
    if code == Code.TOPIC_EXCEPTION:
        return TopicInvalid(topic, why)
    if code == Code.LOCAL_INVALID_ARG:
        return ConfigInvalid(_quoted(why), why)
    return None


def _quoted(text: str) -> str:
    """Return what stands in quotes in a text of librdkafka: the name of the property it complains of."""
    found = re.search(r"[\"`]([\w.]+)", text)
    return found.group(1) if found else ""
