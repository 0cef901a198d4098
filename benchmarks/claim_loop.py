"""The bare client's claim loop: what any worker of this design can reach at most.

Poll, take what has arrived, commit it synchronously, do nothing with it: `python -m benchmarks.claim_loop HOST:PORT TOPIC COUNT`.
"""

from __future__ import annotations

import sys
import uuid
from time import perf_counter, process_time

from confluent_kafka import Consumer, TopicPartition

BATCH = 128
"""Records a commit at the most; with 64 the loop is no slower by more than the noise."""

PATIENCE = 60.0
"""Seconds without a record after which the count is believed to be wrong."""


def claim_loop(bootstrap: str, topic: str, count: int) -> tuple[float, float]:
    """Claim records of a topic from its beginning.

    Args:
        bootstrap: The broker.
        topic: Has at least `count` records.
        count: How many to claim.

    Returns:
        Seconds from the first record to the last commit's answer, and the CPU of this process within.

    Raises:
        TimeoutError: There are fewer records.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"claim-loop-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 1024,
        }
    )
    consumer.subscribe([topic])
    started = cpu = 0.0
    left = count
    try:
        while left > 0:
            first = consumer.poll(PATIENCE)
            if first is None:
                raise TimeoutError(f"{topic} has {left} records fewer than {count}")
            if not started:
                started, cpu = perf_counter(), process_time()
            batch = [first, *consumer.consume(BATCH - 1, 0)]
            ends: dict[int | None, int] = {}
            for message in batch:
                assert message.error() is None, message.error()
                ends[message.partition()] = (message.offset() or 0) + 1
            offsets = [TopicPartition(topic, part or 0, end) for part, end in ends.items()]
            consumer.commit(offsets=offsets, asynchronous=False)
            left -= len(batch)
        return perf_counter() - started, process_time() - cpu
    finally:
        consumer.close()


def main() -> None:
    """Measure what the command line names."""
    bootstrap, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seconds, cpu = claim_loop(bootstrap, topic, count)
    print(f"{count / seconds:,.0f} records/s, {1e6 * cpu / count:.1f} us of CPU each")


if __name__ == "__main__":
    main()
