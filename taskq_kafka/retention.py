"""How long the broker keeps the offsets of an empty group."""

from __future__ import annotations

import logging
from concurrent.futures import TimeoutError as FutureTimeoutError

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from . import forks
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
    try:
        brokers = admin.list_topics(timeout=5).brokers
        resource = ConfigResource(ResourceType.BROKER, str(next(iter(brokers))))
        (answer,) = admin.describe_configs([resource], request_timeout=5).values()
        minutes = int(answer.result(timeout=5)[SETTING].value)
    except (KafkaException, KeyError, StopIteration, FutureTimeoutError, ValueError) as error:
        logger.warning(
            "cannot read %s of the broker (%s); assuming %d days",
            SETTING,
            error,
            DEFAULT_MINUTES // 1440,
            extra={"event": "broker.retention_unknown"},
        )
        minutes = DEFAULT_MINUTES
    return minutes * 60_000
