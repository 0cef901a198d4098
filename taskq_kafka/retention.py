"""How long the broker keeps the offsets of an empty group."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from concurrent.futures import TimeoutError as FutureTimeoutError

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from . import forks
from .anybroker import ask_any
from .options import TransportOptions

logger = logging.getLogger(__name__)

DEFAULT_MINUTES = 10_080
"""`offsets.retention.minutes` where the broker does not tell: Kafka's default, seven days."""

SETTING = "offsets.retention.minutes"


def offsets_retention_ms(options: TransportOptions) -> int:
    """Return the broker's `offsets.retention.minutes` in milliseconds; its default where we may not read it.

    Blocks for two round trips, at most ten seconds.
    """
    admin = forks.new_admin(options.admin_config())

    def ask(broker: str, until: float) -> int:
        left = max(0.001, until - time.monotonic())
        resource = ConfigResource(ResourceType.BROKER, broker)
        (answer,) = admin.describe_configs([resource], request_timeout=left).values()
        return int(answer.result(timeout=left)[SETTING].value)

    def brokers() -> Collection[int]:
        return admin.list_topics(timeout=5).brokers

    try:
        deadline = time.monotonic() + 10
        minutes = ask_any(brokers, ask, deadline, unanswered=(KafkaException, FutureTimeoutError))
    except (KafkaException, KeyError, FutureTimeoutError, ValueError) as error:
        logger.warning(
            "cannot read %s of the broker (%s); assuming %d days",
            SETTING,
            error,
            DEFAULT_MINUTES // 1440,
            extra={"event": "broker.retention_unknown"},
        )
        minutes = DEFAULT_MINUTES
    return minutes * 60_000
