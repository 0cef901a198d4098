"""What stands in the way of a copy of this process."""

from __future__ import annotations

import gc
import threading

import confluent_kafka

from taskq.worker.pools.inheritance import allow, hindrances
from taskq_kafka.forks import new_producer

NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


def test_a_thread_is_named_while_it_lives() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="rates")
    thread.start()
    during = hindrances()
    end.set()
    thread.join()

    assert "thread 'rates'" in during
    assert "thread 'rates'" not in hindrances()


def test_a_thread_that_is_allowed_is_none() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="rates")
    allow(thread)
    thread.start()
    during = hindrances()
    end.set()
    thread.join()

    assert "thread 'rates'" not in during


def test_a_client_of_the_kafka_library_is_named_and_ours_is_not() -> None:
    gc.collect()  # what earlier tests left, so that none of it goes meanwhile
    before = clients()
    ours = new_producer(dict(NOWHERE))
    with_ours = clients()
    theirs = confluent_kafka.Producer(NOWHERE)
    with_both = clients()
    del ours, theirs

    assert with_ours == before
    assert with_both == sorted([*before, "a Kafka Producer"])


def clients() -> list[str]:
    """Return what is named beside threads: these may come and go with what earlier tests have begun."""
    return sorted(each for each in hindrances() if not each.startswith("thread "))
