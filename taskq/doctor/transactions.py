"""Transactions that stay open and hold back everybody who reads their partitions: nothing else tells why a queue stands still."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from taskq.attempts import instant_text
from taskq.doctor.facts import Facts
from taskq.doctor.findings import Finding, note, problem
from taskq.printing import age, counted
from taskq.protocols import HeldPartition

LONG_SECONDS = 70.0
"""By then a broker has ended what a dead program left open: a producer's usual time limit is 60 s, and brokers look every 10 s."""


def transactions(facts: Facts) -> Iterator[Finding]:
    """Name the partitions that an open transaction holds up."""
    for held in facts.held:
        yield _finding(held, facts)


def _finding(held: HeldPartition, facts: Facts) -> Finding:
    subject = f"partition {held.topic} {held.partition}"
    open_for = None if held.since_ms is None else (facts.now_ms - held.since_ms) / 1000
    told = f"an open transaction holds back {counted(held.behind, 'offset')} from {held.offset} on"
    if held.since_ms is not None and open_for is not None:
        since = datetime.fromtimestamp(held.since_ms / 1000, timezone.utc)
        told += f", since {instant_text(since)} ({age(open_for)})"
    meaning = (
        "Nobody who reads what is committed sees its first record or anything behind it: all of taskq waits there, and the lag "
        "does not count it."
    )
    if open_for is not None and open_for < LONG_SECONDS:
        return note(
            subject,
            told,
            f"{meaning} A program that lives ends it; that of a dead one is ended by the broker when its time is over.",
            "Run it again in a minute.",
        )
    where = f"--topic {held.topic} --partition {held.partition}"
    tool = f"kafka-transactions.sh --bootstrap-server {_servers(facts.address)}"
    return problem(
        subject,
        told,
        f"{meaning} A transaction that is open for so long is one of a program that takes its time, or it hangs: its process or a "
        "broker died, and nobody ends it.",
        f"See whose it is: '{tool} describe-producers {where}', and whether it hangs: '{tool} find-hanging {where}'. "
        f"End it: '{tool} abort {where} --start-offset {held.offset}'. Brokers before Kafka 3.6 leave such ones behind: upgrade "
        "them.",
    )


def _servers(address: str) -> str:
    """Return the brokers of an address as Kafka's tools take them."""
    return address.rpartition("://")[2].rpartition("@")[2]
