"""Hosts of shards on a real broker: what is due is written once, never early, however their processes end."""

from __future__ import annotations

import logging
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from confluent_kafka import Producer, TopicPartition

from taskq.timing.shards import ShardHost, Write
from taskq_kafka.committed import committed
from taskq_kafka.errors import BrokerUnreachable, LogUnfit
from taskq_kafka.logrecords import LogRecord
from taskq_kafka.logs import Logs
from taskq_kafka.options import TransportOptions
from taskq_kafka.questions import Questions
from taskq_kafka.reader import Reader
from taskq_kafka.shared import shared
from tests.support.kafka import Kafka, set_topic
from tests.support.mock_cluster import MockCluster
from tests.support.ports import reserve_port
from tests.support.processes import Process, Processes
from tests.support.toyshard import now_ms, timer, toy_host
from tests.support.waiting import wait_until

PATIENCE = 90.0

LOG = "toys"
GROUP = "toys-hosts"


class Stage:
    """A log, its queue and its letters, behind a prefix of the test's own."""

    def __init__(self, bootstrap: str, name: str, protocol: str = "auto") -> None:
        self.options = TransportOptions(
            bootstrap=bootstrap, prefix=f"{name}-", group_protocol=protocol
        )
        self.logs = shared(Logs, self.options)
        self._running: list[tuple[ShardHost, threading.Thread]] = []
        self._reader = Reader(self.options)

    def host(self, *, forgetful: bool = False, logs: Logs | None = None) -> ShardHost:
        """Start a host in a thread."""
        host = toy_host(logs or self.logs, LOG, GROUP, forgetful=forgetful)
        thread = threading.Thread(target=host.run, daemon=True)
        thread.start()
        self._running.append((host, thread))
        return host

    def process(self, processes: Processes, *more: str) -> Process:
        """Start a host in a process of its own."""
        options = [f"prefix={self.options.prefix}", f"group_protocol={self.options.group_protocol}"]
        where = (self.options.bootstrap, LOG, GROUP, *options)
        return processes.python("-m", "tests.support.toyshard", *where, *more)

    def put(self, *writes: Write) -> None:
        """Write timers."""
        assert self.logs.append(writes, timeout=PATIENCE) == [None] * len(writes)

    def fired(self, queue: str = "q") -> list[LogRecord]:
        """Return what stands in a queue, for those who read what is committed."""
        return list(self._read(queue))

    def letters(self) -> list[LogRecord]:
        """Return the letters."""
        return list(self._read("taskq.timers.dlq"))

    def wait_for(self, count: int, queue: str = "q") -> list[LogRecord]:
        """Wait until so many records stand in a queue, and return them."""
        what = f"{count} records in {queue}"
        return wait_until(
            lambda: found if len(found := self.fired(queue)) >= count else [],
            timeout=PATIENCE,
            what=what,
        )

    def leases(self) -> list[str]:
        """Return what stands beside the group's offsets."""
        topic = self.options.prefix + LOG
        places = [TopicPartition(topic, number) for number in range(16)]
        group = self.options.prefix + GROUP
        found = committed(self.options, group, places, timeout=PATIENCE)
        return [(place.metadata or "").rstrip("\0") for place in found]

    def stop(self, host: ShardHost) -> None:
        """Stop a host of this process."""
        host.stop()
        for each, thread in self._running:
            if each is host:
                thread.join(PATIENCE)
                assert not thread.is_alive()

    def close(self) -> None:
        """Stop all hosts of this process."""
        for host, _ in self._running:
            self.stop(host)
        self._reader.close()

    def _read(self, name: str) -> Iterator[LogRecord]:
        topic = self.options.prefix + name
        partitions = Questions(self.options).partitions(topic, PATIENCE)
        return map(LogRecord, self._reader.read_all(topic, partitions, timeout=PATIENCE))


@pytest.fixture
def stage(kafka: Kafka, topic: str) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap, topic)
    yield stage
    stage.close()


@pytest.fixture(params=["consumer", "classic"])
def both(request: pytest.FixtureRequest, kafka: Kafka, topic: str) -> Iterator[Stage]:
    stage = Stage(kafka.bootstrap, topic, request.param)
    yield stage
    stage.close()


@pytest.fixture(params=["mock", "kafka"])
def any_stage(request: pytest.FixtureRequest, topic: str) -> Iterator[Stage]:
    kind = "mock_cluster" if request.param == "mock" else "kafka"
    cluster: Kafka | MockCluster = request.getfixturevalue(kind)
    stage = Stage(cluster.bootstrap, topic)
    yield stage
    stage.close()


def wait_ready(*hosts: ShardHost, shards: int = 16) -> None:
    wait_until(
        lambda: sum(len(host.status().ready) for host in hosts) == shards,
        timeout=PATIENCE,
        what=f"{shards} shards read to their end",
    )


def timers(count: int, *, due_ms: int = 0, queue: str = "q") -> list[Write]:
    start = now_ms() + due_ms
    return [timer(LOG, f"timer-{n}", start + n * 10, queue) for n in range(count)]


def values(records: Sequence[LogRecord]) -> Counter[bytes]:
    return Counter(record.value or b"" for record in records)


def each_once(count: int) -> Counter[bytes]:
    return Counter(f"timer-{n}".encode() for n in range(count))


def latenesses(records: Sequence[LogRecord]) -> list[int]:
    """Return how late each was written, in milliseconds."""
    return [record.timestamp_ms - int(dict(record.headers)["due"] or b"") for record in records]


def test_what_is_due_is_fired_once_and_never_early(any_stage: Stage) -> None:
    host = any_stage.host()
    any_stage.put(*timers(50, due_ms=300))

    found = any_stage.wait_for(50)

    assert values(found) == each_once(50)
    assert min(latenesses(found)) >= 0
    wait_until(lambda: host.status().waiting == 0, timeout=PATIENCE, what="tombstones")


def test_what_is_due_at_about_the_same_time_goes_to_all_partitions_of_its_queue(
    any_stage: Stage,
) -> None:
    any_stage.host()
    any_stage.put(*timers(100))  # within a second

    found = any_stage.wait_for(100)

    partitions = Counter(record.partition for record in found)
    assert max(partitions.values()) < 60, partitions  # one worker would have nearly all of it to do


def test_what_was_fired_stays_fired_for_the_next_host(any_stage: Stage) -> None:
    any_stage.put(*timers(20))
    first = any_stage.host()
    any_stage.wait_for(20)
    any_stage.stop(first)

    second = any_stage.host()
    any_stage.put(timer(LOG, "later", now_ms(), "q"))
    found = any_stage.wait_for(21)

    assert values(found) == each_once(20) + Counter({b"later": 1})
    # Its record can be read before the host takes note that it was written.
    wait_until(lambda: second.status().waiting == 0, timeout=PATIENCE, what="nothing to wait")


def test_an_open_transaction_of_somebody_else_does_not_hide_from_the_next_host_what_was_fired(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq_kafka.shardreading.HANGING_SECONDS", 0.0)
    stranger = Producer(stage.options.transactional_config("stranger"))
    stranger.init_transactions(PATIENCE)
    first = stage.host()
    wait_ready(first)
    stage.put(*timers(20, due_ms=5_000))  # all are to be written and read before the first is due
    wait_until(lambda: first.status().waiting == 20, timeout=PATIENCE, what="timers")
    stranger.begin_transaction()
    for number in range(16):
        stranger.produce(f"{stage.options.prefix}{LOG}", b"0 q 0", b"never", number)
    assert stranger.flush(PATIENCE) == 0
    stage.wait_for(20)  # the ends of which stand behind the open transaction
    stage.stop(first)

    second = stage.host()
    wait_until(
        lambda: [record for record in caplog.records if "abort it" in record.getMessage()],
        timeout=PATIENCE,
        what="the open transaction to be noticed",
    )
    stranger.abort_transaction(PATIENCE)
    wait_ready(second)

    assert values(stage.wait_for(20)) == each_once(20)
    assert second.status().waiting == 0


def test_records_that_a_shard_did_not_keep_are_fetched_when_they_are_wanted(
    any_stage: Stage,
) -> None:
    any_stage.put(*timers(200))

    any_stage.host(forgetful=True)

    assert values(any_stage.wait_for(200)) == each_once(200)


def test_hosts_share_the_shards(both: Stage) -> None:
    one, two = both.host(), both.host()
    wait_until(
        lambda: one.status().partitions and two.status().partitions,
        timeout=PATIENCE,
        what="shards on both",
    )
    wait_ready(one, two)

    assert sorted([*one.status().partitions, *two.status().partitions]) == list(range(16))
    both.put(*timers(100, due_ms=100))
    assert values(both.wait_for(100)) == each_once(100)


def test_a_clean_stop_releases_the_shards_so_that_nobody_need_be_shut_out(
    both: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "taskq_kafka")
    first = both.host()
    wait_ready(first)
    held = both.leases()

    both.stop(first)

    assert all(lease.startswith(f"2:{both.options.prefix}{GROUP}-") for lease in held)
    assert both.leases() == [""] * 16
    wait_ready(both.host())
    events = [getattr(record, "event", "") for record in caplog.records]
    assert "shards.released" in events
    assert "shards.taken_over" not in events


def test_a_clean_stop_hands_over_what_waits(stage: Stage) -> None:
    first = stage.host()
    wait_ready(first)
    stage.put(*timers(100, due_ms=500))
    second = stage.host()

    stage.stop(first)

    assert values(stage.wait_for(100)) == each_once(100)
    wait_ready(second)


@pytest.mark.parametrize("both", ["consumer"], indirect=True)
def test_the_transaction_of_a_killed_owner_is_ended_by_its_heir(
    both: Stage, processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    owner = both.process(processes, "hold")
    owner.wait_for_line("shards.opened", timeout=PATIENCE)
    both.put(*timers(20))
    owner.wait_for_line("holding", timeout=PATIENCE)

    owner.kill()
    both.host()

    assert values(both.wait_for(20)) == each_once(20)
    taken = [r for r in caplog.records if getattr(r, "event", "") == "shards.taken_over"]
    assert taken
    assert taken[0].__dict__["held"]
    assert "open transaction" in taken[0].getMessage()


@pytest.mark.parametrize("both", ["classic"], indirect=True)
def test_an_owner_that_was_frozen_past_its_session_commits_nothing(
    both: Stage, processes: Processes
) -> None:
    owner = both.process(processes, "hold")
    owner.wait_for_line("shards.opened", timeout=PATIENCE)
    both.put(*timers(20))
    owner.wait_for_line("holding", timeout=PATIENCE)
    owner.freeze()
    heir = both.host()
    both.wait_for(20)

    owner.thaw()
    owner.signal(signal.SIGUSR1)  # commit now
    owner.wait_for_line(r"shards\.(reopened|lost)", timeout=PATIENCE)
    both.put(*(timer(LOG, f"more-{n}", now_ms(), "q") for n in range(20)))

    found = both.wait_for(40)
    assert values(found) == each_once(20) + Counter(f"more-{n}".encode() for n in range(20))
    assert heir.status().member


def test_a_record_too_large_for_its_queue_becomes_a_letter_and_holds_up_nobody(
    kafka: Kafka, stage: Stage
) -> None:
    kafka.create_topic(f"{stage.options.prefix}small", config={"max.message.bytes": "2000"})
    large = [timer(LOG, f"large-{n}", 0, "small", filling=9_000) for n in range(2)]
    stage.put(*large, *timers(40), timer(LOG, "fits", 0, "small"))

    stage.host()

    assert values(stage.wait_for(40)) == each_once(40)
    assert values(stage.wait_for(1, "small")) == Counter([b"fits"])
    letters = wait_until(
        lambda: found if len(found := stage.letters()) == 2 else [],
        timeout=PATIENCE,
        what="letters",
    )
    assert {record.key for record in letters} == {b"large-0", b"large-1"}
    headers = dict(letters[0].headers)
    assert headers["dlq-reason"] == b"refused"
    assert b"larger" in (headers["dlq-error"] or b"").lower() or headers["dlq-error"]


def test_what_is_due_waits_while_its_queue_cannot_be_made_and_holds_up_nobody(
    kafka: Kafka, stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("taskq_kafka.shardhost.UNMADE_SECONDS", 0.3)
    kafka.create_topic(f"{stage.options.prefix}q")
    stage.put(*(timer(LOG, f"early-{n}", 0, "unmade") for n in range(20)), *timers(20))
    few = replace(stage.options, replication=3)  # of which one broker is up

    stage.host(logs=shared(Logs, few))
    assert values(stage.wait_for(20)) == each_once(20)
    wait_until(
        lambda: "INVALID_REPLICATION_FACTOR" in caplog.text, timeout=PATIENCE, what="the refusal"
    )
    kafka.create_topic(f"{stage.options.prefix}unmade")

    assert values(stage.wait_for(20, "unmade")) == Counter(b"early-%d" % n for n in range(20))
    assert stage.letters() == []


def test_a_host_whose_clock_the_broker_refuses_leaves_its_shards_to_others(
    kafka: Kafka, stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("taskq_kafka.shardhost.WRONG_CLOCK_SECONDS", 1.0)
    queue = f"{stage.options.prefix}q"
    # Any time is behind the broker's: the same answer that a clock gets which is far ahead.
    kafka.create_topic(queue, config={"message.timestamp.before.max.ms": "0"})
    host = stage.host()
    wait_ready(host)
    stage.put(*timers(20))
    wait_until(
        lambda: [r for r in caplog.records if getattr(r, "event", "") == "shards.clock_wrong"],
        timeout=PATIENCE,
        what="the refusal",
    )
    assert "set the clock" in caplog.text
    assert stage.fired() == []

    set_topic(kafka.bootstrap, queue, message_timestamp_before_max_ms=str(2**63 - 1))

    assert values(stage.wait_for(20)) == each_once(20)


def test_a_log_that_would_lose_records_is_refused_before_anything_is_owned(
    kafka: Kafka, stage: Stage
) -> None:
    kafka.create_topic(f"{stage.options.prefix}{LOG}")

    with pytest.raises(LogUnfit, match=r"cleanup\.policy"):
        toy_host(stage.logs, LOG, GROUP).run()


def test_a_host_without_a_broker_says_so_at_once() -> None:
    port = reserve_port()
    options = TransportOptions(bootstrap=f"127.0.0.1:{port.number}", connect_timeout=2.0)

    with pytest.raises(BrokerUnreachable, match="refused"):
        toy_host(Logs(options), LOG, GROUP).run()

    port.release()


def test_an_outage_delays_and_loses_nothing(own_kafka: Kafka, topic: str) -> None:
    stage = Stage(own_kafka.bootstrap, topic, "classic")
    host = stage.host()
    wait_ready(host)
    stage.put(*timers(200, due_ms=200))
    stage.wait_for(1)

    own_kafka.kill()
    own_kafka.start()

    assert values(stage.wait_for(200)) == each_once(200)
    stage.put(timer(LOG, "later", now_ms(), "q"))
    stage.wait_for(201)
    stage.close()
