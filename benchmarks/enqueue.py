"""(b) How fast tasks are sent, each with its acknowledgement; and the first send of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from threading import Thread
from time import perf_counter

from confluent_kafka import Producer

from benchmarks.drivers import Celery, Taskq
from benchmarks.rows import Row

NAME = "sending, acknowledged tasks/s"
EACH = 2000
"""Sends of one thread."""

TURN = 250
"""Sends before it is the next system's turn."""

BULK = 100_000

FIRST = """
import json, os, sys
from time import perf_counter
start = perf_counter()
from taskq import App
app = App("first", broker=sys.argv[1], default_queue=sys.argv[2])
task = app.task("benchmark.noop")(lambda number, text: None)
imported = perf_counter()
task.delay(1, "a few letters")
print(json.dumps([imported - start, perf_counter() - imported]), flush=True)
os._exit(0)
"""
"""Its import stands apart: kombu and the client's library are loaded by the first send, as in users' programs."""


def rate(send: Callable[[int], None], *, threads: int = 1) -> float:
    """Return calls a second of `send` in a loop, in so many threads at once."""

    def loop() -> None:
        for number in range(EACH):
            send(number)

    send(0)  # connections are made by the first
    running = [Thread(target=loop) for _ in range(threads)]
    start = perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return EACH * threads / (perf_counter() - start)


def side_by_side(sends: Mapping[str, Callable[[int], None]]) -> dict[str, float]:
    """Return calls a second of each, one thread; they take turns, so that none has the broker warmer than another."""
    seconds = dict.fromkeys(sends, 0.0)
    for send in sends.values():
        send(0)
    for first in range(0, EACH, TURN):
        for name, send in sends.items():
            start = perf_counter()
            for number in range(first, first + TURN):
                send(number)
            seconds[name] += perf_counter() - start
    return {name: EACH / spent for name, spent in seconds.items()}


def all_systems(bootstrap: str, redis: str | None) -> Iterator[Row]:
    """Measure taskq, the bare client, and Celery on Redis."""
    driver = Taskq(bootstrap)
    noop = driver.app.task("benchmark.noop")(lambda number, text: None)
    bare = _bare_sender(bootstrap, driver.queue)
    sends = {"taskq": lambda n: _delay(noop, n), "bare client": bare}
    celery = None if redis is None else Celery(redis)
    if celery is not None:
        to_celery = celery.send
        sends[celery.name] = lambda n: to_celery("benchmark.noop", n, "a few letters")
    for system, each in side_by_side(sends).items():
        yield Row(NAME, system, "delay, 1 thread", each)
    yield Row(NAME, "taskq", "delay, 8 threads", rate(lambda n: _delay(noop, n), threads=8))
    start = perf_counter()
    for part in range(0, BULK, 20_000):
        noop.delay_many([(number, "a few letters") for number in range(part, part + 20_000)])
    yield Row(NAME, "taskq", "many at once", BULK / (perf_counter() - start))
    yield from _bare_bulk(bootstrap, driver.queue)
    if celery is not None:
        calls = [(number, "a few letters") for number in range(EACH)]
        start = perf_counter()
        celery.send_many("benchmark.noop", calls)
        yield Row(NAME, celery.name, "many at once", EACH / (perf_counter() - start))
    yield from _first(bootstrap, driver.queue)


def _delay(task: object, number: int) -> None:
    task.delay(number, "a few letters")  # type: ignore[attr-defined]  # a task of any signature


_VALUE = json.dumps([[1, "a few letters"], {}, {}]).encode()
_HEADERS: list[tuple[str, str | bytes | None]] = [("task", b"benchmark.noop"), ("id", b"0" * 36)]


def _bare_sender(bootstrap: str, topic: str) -> Callable[[int], None]:
    """Return what the bare client does for one: produce and wait."""
    producer = Producer(_settings(bootstrap))

    def send(number: int) -> None:
        producer.produce(topic, _VALUE, headers=list(_HEADERS))
        producer.flush()

    return send


def _bare_bulk(bootstrap: str, topic: str) -> Iterator[Row]:
    """Produce all with the bare client and wait once."""
    own = {"queue.buffering.max.messages": 2 * BULK, "linger.ms": 5}
    bulk = Producer({**_settings(bootstrap), **own})
    bulk.list_topics(topic)
    start = perf_counter()
    for _ in range(BULK):
        bulk.produce(topic, _VALUE, headers=list(_HEADERS))
    bulk.flush()
    yield Row(NAME, "bare client", "many at once", BULK / (perf_counter() - start))


def _settings(bootstrap: str) -> dict[str, str | int | float | bool]:
    return {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0}


def _first(bootstrap: str, queue: str) -> Iterator[Row]:
    """Do it twice: an installed package is compiled, a work tree may not be, and the first run compiles it."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", FIRST, bootstrap, queue]
    with tempfile.TemporaryDirectory(prefix="benchmark-compiled-") as compiled:
        env["PYTHONPYCACHEPREFIX"] = compiled
        subprocess.check_output(command, env=env)
        imported, sent = json.loads(subprocess.check_output(command, env=env))
    name = "the first send of a process, ms"
    yield Row(name, "taskq", "import taskq", 1000 * imported)
    yield Row(name, "taskq", "first delay", 1000 * sent)
