"""What librdkafka reports besides the answers: its errors, said in the log at a limited rate.

An outage makes hundreds of them in a minute; none is a task's error, and clients go on by themselves.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from .codes import AUTHENTICATION, Code, is_answer
from .errors import (
    AuthenticationFailed,
    BrokerUnreachable,
    ClientError,
    ConnectionBroken,
    TaskqKafkaError,
    map_error,
)

logger = logging.getLogger(__name__)

LOG_INTERVAL: Final = 10.0
"""Seconds between two lines about the same handle. Long enough for an outage of an hour to stay readable."""


CAUSE_AGE: Final = 30.0
"""Seconds for which an error may be the reason of what fails after it; connections are tried anew every two."""


NO_KAFKA: Final = (
    "nothing refused the connection, and nothing answers like Kafka: "
    "another program's port, one for TLS (taskqs://), a firewall?"
)
"""What is known when a request got no answer and no connection was reported as failed: librdkafka tells no more."""


class Quiet(logging.Filter):
    """Keeps librdkafka's own lines readable: of each kind one in ten seconds, and none that says what is said elsewhere.

    It writes a line for each attempt to connect, of each handle and broker; an outage makes thousands. At level debug all pass.
    """

    ELSEWHERE: Final = frozenset({"FAIL", "GETPID"})
    """Kinds that come to `error_cb` as well (a connection failed), or pass by themselves (a coordinator is loading)."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is to be written."""
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return True
        kind = record.getMessage().partition(" ")[0]
        now = monotonic()
        if kind in self.ELSEWHERE or now - self._said_at.get(kind, -LOG_INTERVAL) < LOG_INTERVAL:
            return False
        self._said_at[kind] = now
        return True


client_logger: Final = logging.getLogger("taskq_kafka.librdkafka")
"""What librdkafka is given to write to."""

client_logger.addFilter(Quiet())


class LossLog:
    """The `logger` of one Consumer: passes its lines on, and hears of heartbeats whose answer did not come in time.

    librdkafka tells of these in a line alone: "REQTMOUT [...] Timed out ConsumerGroupHeartbeatRequest in flight (...)".
    """

    def __init__(self, on_loss: Callable[[], None]) -> None:
        """Call `on_loss` for each such heartbeat, in the thread that polls; it must return at once."""
        self._on_loss = on_loss

    def log(self, level: int, form: str, kind: str, client: str, text: str) -> None:
        """Take one line, as confluent-kafka gives it to a logger."""
        if kind == "REQTMOUT" and "Timed out ConsumerGroupHeartbeatRequest in flight" in text:
            self._on_loss()
        client_logger.log(level, form, kind, client, text)


class ErrorLog:
    """An `error_cb`: logs the first error at once, then at most one in ten seconds.

    It also keeps the last that tells something: requests end with a mere timeout, and this is why.

    Called by whichever thread polls the handle; never raises, as an exception in a callback would end a poll.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._said_at: float | None = None
        self._left_out = 0
        self._cause: ClientError | None = None
        self._cause_at = 0.0

    def __call__(self, error: ClientError) -> None:
        """Take one error from librdkafka."""
        self._remember(error)
        with self._lock:
            now = monotonic()
            if self._said_at is not None and now - self._said_at < LOG_INTERVAL:
                self._left_out += 1
                return
            left_out, self._left_out, self._said_at = self._left_out, 0, now
        logger.warning(
            "Kafka at %s: %s (%s); the client goes on trying%s",
            self._address,
            error.str(),
            error.name(),
            f" ({left_out} more such errors were left out)" if left_out else "",
            extra={"event": "kafka.error", "code": error.code(), "left_out": left_out},
        )

    def _remember(self, error: ClientError) -> None:
        """Keep an error as the cause of what fails next, unless one that tells more is fresh."""
        now = monotonic()
        kept = self._cause
        if kept is not None and now - self._cause_at < CAUSE_AGE:
            hides = _is_refusal(kept) and not _is_refusal(error)
            if hides or error.code() == Code.LOCAL_ALL_BROKERS_DOWN:
                return
        self._cause, self._cause_at = error, now

    @property
    def cause(self) -> ClientError | None:
        """What was wrong with the connection in the last seconds, if anything was."""
        return self._cause if monotonic() - self._cause_at < CAUSE_AGE else None

    def hint(self) -> str:
        """Return the cause as the end of a sentence about a timeout; empty where there was none."""
        cause = self.cause
        return f" ({cause.str()})" if cause is not None else ""

    def explain(self, error: ClientError | BaseException, *, topic: str = "") -> TaskqKafkaError:
        """Map an error that a request ended with; behind a mere timeout stands what was wrong before it."""
        mapped = map_error(error, address=self._address, topic=topic)
        if not isinstance(mapped, (ConnectionBroken, BrokerUnreachable)):
            return mapped
        if isinstance(mapped, ConnectionBroken) and is_answer(mapped.code):
            return mapped
        cause = self.cause
        if cause is None or cause.code() == Code.LOCAL_ALL_BROKERS_DOWN:
            return BrokerUnreachable(self._address, NO_KAFKA)
        kind = AuthenticationFailed if _is_refusal(cause) else BrokerUnreachable
        return kind(self._address, cause.str())


def _is_refusal(error: ClientError) -> bool:
    """Whether a broker is there and TLS or the login is at fault, which waiting will not change.

    A handshake that failed has the code of any broken connection; only librdkafka's text tells.
    """
    return error.code() in AUTHENTICATION or "SSL handshake failed" in error.str()
