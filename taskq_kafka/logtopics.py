"""Whether the topic of a log is there and fit for it, and making it.

A log that is not compacted would lose what waits in it, or keep all that ever was: so it is looked at before the first record. Any
thread may call; what blocks does so for `timeout` seconds at most.
"""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka.admin import ConfigResource, ResourceType

from .errors import LogUnfit, RequestRefused, TaskqKafkaError, TopicUnauthorized
from .options import TransportOptions
from .questions import Questions, operations
from .topicmaker import TopicMaker
from .topics import LOG_PARTITIONS, log_settings, topic_of, why_unfit

_UNTOLD: Final = (LookupError, PermissionError, RequestRefused)
"""What may not be read, or was just made and is not known everywhere yet."""

ACLS: Final = "ask the cluster's operator (`taskq doctor --acls` prints the rules)"
"""What to do about missing rights."""


class LogTopics:
    """Looks at the topics of logs."""

    def __init__(self, options: TransportOptions, questions: Questions, maker: TopicMaker) -> None:
        """Ask with these; nothing is asked yet."""
        self._options = options
        self._questions = questions
        self._maker = maker

    def partitions(self, log: str, *, timeout: float) -> int:
        """Return how many partitions a log has; 0 if it has no topic.

        Raises:
            TaskqKafkaError: No broker answered, or we may not know.
        """
        return len(self._questions.partitions(topic_of(self._options.prefix, log), timeout))

    def ready(self, log: str, uses: frozenset[str], *, timeout: float) -> int:
        """Make a log's topic if it is missing, see that it is fit, and return its number of partitions.

        Args:
            log: Its name.
            uses: What we have to be allowed, in the words of Kafka's tools (`Read`, `Write`).
            timeout: Seconds.

        Raises:
            LogUnfit: It is missing and may not be made, or would lose records, or we have not the rights.
            TaskqKafkaError: No broker answered.
        """
        deadline = time.monotonic() + timeout
        topic = topic_of(self._options.prefix, log)
        try:
            partitions = self._questions.partitions(topic, timeout)
            if not partitions:
                self._make(log, topic, deadline)
                partitions = self._questions.partitions(topic, deadline - time.monotonic())
        except PermissionError as error:
            raise LogUnfit(log, topic, f"no right to look at it ({_why(error)}); {ACLS}") from error
        if not self._questions.is_bare(deadline):
            self._check_settings(log, topic, deadline)
            self._check_rights(log, topic, uses, deadline)
        return len(partitions)

    def _make(self, log: str, topic: str, deadline: float) -> None:
        if not self._options.auto_create:
            raise LogUnfit(
                log, topic, f"it does not exist, and auto_create is off; {_by_hand(log, topic)}"
            )
        try:
            self._maker.create_log(log, timeout=deadline - time.monotonic())
        except ConnectionError:
            raise
        except (TopicUnauthorized, RequestRefused) as error:
            why = f"it does not exist and could not be made ({_why(error)}); {_by_hand(log, topic)}"
            raise LogUnfit(log, topic, why) from error

    def _check_settings(self, log: str, topic: str, deadline: float) -> None:
        try:
            config = self._questions.config(ConfigResource(ResourceType.TOPIC, topic), deadline)
        except _UNTOLD:
            return
        why = why_unfit(log, config.get("cleanup.policy", "compact"))
        if why:
            wanted = dict(log_settings(log, self._options).config)["cleanup.policy"]
            command = (
                f"kafka-configs.sh --alter --topic {topic} --add-config 'cleanup.policy=[{wanted}]'"
            )
            raise LogUnfit(log, topic, f"{why}; change it: {command}")

    def _check_rights(self, log: str, topic: str, uses: frozenset[str], deadline: float) -> None:
        try:
            allowed = operations(self._questions.described_topic(topic, deadline))
        except _UNTOLD:
            return
        missing = uses - (allowed if allowed is not None else uses)
        if missing:
            raise LogUnfit(log, topic, f"no right to {' and '.join(sorted(missing))}; {ACLS}")


def _why(error: TaskqKafkaError | PermissionError) -> str:
    return str(getattr(error, "why", error))


def _by_hand(log: str, topic: str) -> str:
    """Return the command that makes the topic."""
    policy = "compact,delete" if why_unfit(log, "compact,delete") == "" else "compact"
    return (
        f"create it: kafka-topics.sh --create --topic {topic} --partitions {LOG_PARTITIONS} "
        f"--config cleanup.policy={policy}"
    )
