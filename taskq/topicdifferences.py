"""What a topic that exists has otherwise than taskq would make it. Pure."""

from __future__ import annotations

from taskq.protocols import TopicStatus


def exists(topic: TopicStatus) -> bool:
    """Return whether there is such a topic."""
    return topic.partitions > 0


def differences(topic: TopicStatus) -> dict[str, tuple[str, str]]:
    """Return the settings of a topic that are not as taskq would make them: as they are, and as they would be.

    Nothing for a topic that does not exist, and of settings that could not be read.
    """
    if not exists(topic):
        return {}
    own = {"partitions": str(topic.partitions), **topic.settings}
    if topic.replication:
        own["replication"] = str(topic.replication)
    return {
        name: (own[name], wanted)
        for name, wanted in topic.wanted.items()
        if name in own and not _same(own[name], wanted)
    }


def _same(one: str, other: str) -> bool:
    """Whether two values say the same: lists have no order."""
    return sorted(one.split(",")) == sorted(other.split(","))
