"""Finding records in a topic, and how each stands for a group. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from taskq.memory.log import Group, Topic, record_of
from taskq.protocols import FoundRecord
from taskq_kafka.records import Record


def records(
    topic: Topic, group: Group, queue: str, *, since_ms: int | None, until_ms: int | None
) -> Iterator[Record]:
    """Yield the records of a span of time, or all that the group has not claimed where there is no `since_ms`."""
    for number, partition in enumerate(topic.partitions):
        for offset in range(partition.first, partition.end):
            entry = partition.at(offset)
            if until_ms is not None and entry.timestamp_ms > until_ms:
                break
            is_settled = group.progress[number].is_settled(offset)
            if is_settled if since_ms is None else entry.timestamp_ms < since_ms:
                continue
            yield record_of(queue, number, offset, entry)


def record_at(
    topic: Topic, group: Group, queue: str, partition: int, offset: int
) -> FoundRecord | None:
    """Return one record and how it stands; None where there never was one."""
    if partition >= len(topic.partitions) or offset >= topic.partitions[partition].end:
        return None
    place = topic.partitions[partition]
    record = None
    if offset >= place.first:
        record = record_of(queue, partition, offset, place.at(offset))
    progress = group.progress[partition]
    is_claimed = progress.is_settled(offset)
    before = range(max(place.first, progress.next_offset), offset)
    ahead = 0 if is_claimed else sum(not progress.is_settled(each) for each in before)
    return FoundRecord(queue, partition, offset, record, is_claimed, ahead)
