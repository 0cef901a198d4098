"""The options of a connection to `memory://`: those of Kafka's transport, so that an app runs on either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskq.errors import InvalidQueueName
from taskq.memory.errors import OptionInvalid, QueueNameInvalid
from taskq.near import nearest
from taskq.queues import check_queue
from taskq_kafka.steps import queue_of_source

WITHOUT_MEANING = frozenset(
    {
        "client_id",
        "connect_timeout",
        "dlq_retention",
        "group_protocol",
        "heartbeat",
        "kafka",
        "prefetch_kbytes",
        "publish_timeout",
        "replication",
        "session_timeout",
    }
)
"""Accepted and not looked at: they speak of a network and of servers."""

KOMBU_OWN = frozenset(
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

_TYPES = {"prefix": str, "group": str, "partitions": int, "auto_create": bool}


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """What the transport can be told."""

    prefix: str = ""
    group: str = "taskq"
    partitions: int = 12
    auto_create: bool = True

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> MemoryOptions:
        """Check kombu's `transport_options`.

        Raises:
            OptionInvalid: One has an unknown name or an impossible value.
        """
        known: dict[str, Any] = {**_TYPES, **dict.fromkeys(WITHOUT_MEANING | KOMBU_OWN, object)}
        for name, value in given.items():
            if name not in known:
                raise OptionInvalid(
                    name, "there is no such transport option", near=nearest(name, known)
                )
            if not isinstance(value, known[name]) or (name == "partitions" and value < 1):
                raise OptionInvalid(name, f"{value!r} is not possible")
        return cls(**{name: value for name, value in given.items() if name in _TYPES})

    @property
    def group_id(self) -> str:
        """The group's name behind the prefix."""
        return self.prefix + self.group

    def topic_of(self, queue: str) -> str:
        """Return the name under which the log keeps a queue, or a priority step of one.

        Raises:
            QueueNameInvalid: It is none that Kafka would take.
        """
        try:
            check_queue(queue_of_source(queue), prefix=self.prefix)
        except InvalidQueueName as error:
            raise QueueNameInvalid(queue, error.why) from error
        return self.prefix + queue
