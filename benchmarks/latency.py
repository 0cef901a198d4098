"""(c) From sending to the start of the function, in an open loop: the sender does not wait for what is slow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.drivers import Celery, Driver, Taskq
from benchmarks.rows import Row, percentile
from benchmarks.runs import quiet_processes, wait_done
from benchmarks.tally import Tally, read
from benchmarks.tree import cpu_seconds, family
from tests.support.processes import Process, Processes
from tests.support.waiting import pause, wait_until

RATE = 200
"""Tasks a second."""

STAMP = "benchmark.stamp"
WARM_UP = 100
"""Tasks before those that count."""


def open_loop(send: Callable[[], None], seconds: float) -> None:
    """Call `send` at a fixed rate, whatever becomes of the calls before."""
    start = perf_counter()
    for number in range(int(RATE * seconds)):
        pause(max(0.0, start + number / RATE - perf_counter()))
        send()


def latency(driver: Driver, seconds: float, *, pool: str = "prefork") -> Iterator[Row]:
    """Measure one system's worker with two slots."""
    with quiet_processes() as (processes, times):
        worker = driver.worker(processes, times, pool=pool, concurrency=2)
        for _ in range(WARM_UP):
            driver.send(STAMP, 0.0)
        wait_done(driver)
        before = cpu_seconds(family(worker.pid))
        open_loop(lambda: driver.send(STAMP, perf_counter()), seconds)
        wait_done(driver)
        cpu = cpu_seconds(family(worker.pid)) - before
        worker.stop()
        yield from _rows(driver.name, read(times), seconds, cpu)


def _rows(system: str, tally: Tally, seconds: float, cpu: float) -> Iterator[Row]:
    count = int(RATE * seconds)
    delays = [1000 * each for each in tally.delays]
    assert len(delays) == count, f"{system}: {len(delays)} of {count}"
    name = f"latency, {RATE} tasks/s for {seconds:g} s, ms from sending to start"
    for share, figure in ((0.5, "p50"), (0.99, "p99"), (1.0, "max")):
        yield Row(name, system, figure, percentile(delays, share))
    yield Row(name, system, "cores used by the worker", cpu / seconds)


def all_systems(bootstrap: str, redis: str | None, seconds: float) -> Iterator[Row]:
    """Measure taskq, the bare client, and Celery on Redis."""
    yield from latency(Taskq(bootstrap), seconds)
    yield from _bare(bootstrap, seconds)
    if redis is not None:
        yield from latency(Celery(redis), seconds)


def _bare(bootstrap: str, seconds: float) -> Iterator[Row]:
    topic = Taskq(bootstrap).queue  # made, with as many partitions
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0}
    )

    def send(sent: float) -> None:
        producer.produce(topic, repr(sent).encode())
        producer.flush()

    with quiet_processes() as (processes, times):
        count = WARM_UP + int(RATE * seconds)
        receiver = _receiver(processes, times, bootstrap, topic, count)
        for _ in range(WARM_UP):
            send(0.0)
        wait_until(lambda: "ready" in receiver.text, timeout=60, what="the bare receiver")
        before = cpu_seconds(family(receiver.pid))
        open_loop(lambda: send(perf_counter()), seconds)
        cpu = cpu_seconds(family(receiver.pid)) - before
        assert receiver.wait(timeout=60) == 0
        yield from _rows("bare client", read(times), seconds, cpu)


def _receiver(processes: Processes, times: Path, bootstrap: str, topic: str, count: int) -> Process:
    command = ["-m", "benchmarks.latency", bootstrap, topic, str(count)]
    return processes.python(*command, env={"BENCHMARK_TIMES": str(times)})


def receive(bootstrap: str, topic: str, count: int) -> None:
    """Be the bare receiver: poll, commit, take the time."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.subscribe([topic])
    tally = Tally()
    while tally.runs < count:
        message = consumer.poll(30)
        assert message is not None, f"{tally.runs} of {count} came"
        assert message.error() is None, message.error()
        at = TopicPartition(topic, message.partition() or 0, (message.offset() or 0) + 1)
        consumer.commit(offsets=[at], asynchronous=False)
        sent = float(message.value() or b"")
        if sent:
            tally.delays.append(perf_counter() - sent)
        tally.ran()
        if tally.runs == WARM_UP:
            print("ready", flush=True)
    tally.write()
    consumer.close()


if __name__ == "__main__":
    receive(sys.argv[1], sys.argv[2], int(sys.argv[3]))
