"""What stands in the way of a copy of this process."""

from __future__ import annotations

import threading

import confluent_kafka

from taskq.worker.pools.inheritance import allow, hindrances
from taskq_kafka.forks import new_producer

NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


def test_a_thread_is_named_while_it_lives() -> None:
    before, end = hindrances(), threading.Event()
    thread = threading.Thread(target=end.wait, name="rates")
    thread.start()
    during = hindrances()
    end.set()
    thread.join()

    assert "thread 'rates'" in during
    assert hindrances() == before


def test_a_thread_that_is_allowed_is_none() -> None:
    before, end = hindrances(), threading.Event()
    thread = threading.Thread(target=end.wait)
    allow(thread)
    thread.start()
    during = hindrances()
    end.set()
    thread.join()

    assert during == before


def test_a_client_of_the_kafka_library_is_named_and_ours_is_not() -> None:
    before = hindrances()
    ours = new_producer(dict(NOWHERE))
    with_ours = hindrances()
    theirs = confluent_kafka.Producer(NOWHERE)
    with_both = hindrances()
    del ours, theirs

    assert with_ours == before
    assert sorted(with_both) == sorted([*before, "a Kafka Producer"])
