"""(e) A thousand schedules that are due every second: how late they are sent, how many are missing, and what beat needs for it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Consumer

from benchmarks.drivers import Taskq
from benchmarks.rows import Row, percentile
from benchmarks.runs import quiet_processes
from benchmarks.tree import cpu_seconds, family
from taskq.instants import read_instant
from tests.support.waiting import Deadline

ENTRIES = 1000

CATCH_UP = 3.0
"""Seconds after the first arrival that are not measured: what was due while beat started is sent then."""


def beat(bootstrap: str, seconds: int) -> Iterator[Row]:
    """Measure taskq's beat; an occurrence counts as sent when a consumer has it."""
    driver = Taskq(bootstrap)
    late: list[float] = []
    seen: Counter[str] = Counter()
    with quiet_processes() as (processes, times):
        file = Path(times).with_name("schedule.json")
        entries = [
            {"id": str(number), "cron": "* * * * * *", "task": "benchmark.noop", "args": [number]}
            for number in range(ENTRIES)
        ]
        file.write_text(json.dumps(entries))
        consumer = _reader(bootstrap, driver.queue)
        process = processes.taskq("beat", "-s", str(file), "-l", "warning", env=driver.environment)
        end = Deadline(seconds + CATCH_UP + 10)
        before = started = 0.0
        while len(late) < ENTRIES * seconds and not end.is_over:
            for message in consumer.consume(1000, 0.01):
                now = time.time()  # noqa: TID251 - against the planned instant
                planned = dict(message.headers() or [])["scheduled_for"]
                at = bytes(planned).decode() if isinstance(planned, bytes) else str(planned)
                if not started:
                    started = now
                    before = cpu_seconds(family(process.pid))
                seen[bytes(message.key() or message.value() or b"").decode() + at] += 1
                due = read_instant(at).timestamp()
                if due > started + CATCH_UP:
                    late.append(1000 * (now - due))
        cpu = cpu_seconds(family(process.pid)) - before
        lasted = time.time() - started  # noqa: TID251 - as above
        process.stop()
        consumer.close()
    name = f"{ENTRIES:,} schedules every second for {seconds} s"
    yield Row(name, "taskq beat", "ms late, p50", percentile(late, 0.5))
    yield Row(name, "taskq beat", "ms late, p99", percentile(late, 0.99))
    yield Row(name, "taskq beat", "missing", max(0, ENTRIES * seconds - len(late)))
    yield Row(name, "taskq beat", "twice", sum(1 for count in seen.values() if count > 1))
    yield Row(name, "taskq beat", "cores used", cpu / lasted)


def _reader(bootstrap: str, topic: str) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-reader",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 5,
        }
    )
    consumer.subscribe([topic])
    return consumer


def celery_beat(redis: str, seconds: int) -> Iterator[Row]:
    """Measure Celery's beat with as many entries; they have no planned instants, so lateness counts from its first round."""
    import redis as client_library

    from benchmarks.drivers import Celery

    driver = Celery(redis)
    client = client_library.Redis.from_url(redis)
    arrived: list[float] = []
    with quiet_processes() as (processes, times):
        env = {**driver.environment, "BENCHMARK_ENTRIES": str(ENTRIES)}
        command = ["-m", "celery", "-A", "benchmarks.systems.celery_app", "beat"]
        place = str(Path(times).with_name("celerybeat"))
        process = processes.python(*command, "-l", "error", "-s", place, env=env)
        end: Deadline | None = None
        before = started = 0.0
        while end is None or not end.is_over:
            if client.brpop([driver.queue], timeout=5) is None:
                break
            now = time.time()  # noqa: TID251 - as above
            if end is None:
                end, started = Deadline(seconds), now
                before = cpu_seconds(family(process.pid))
            arrived.append(now)
        cpu = cpu_seconds(family(process.pid)) - before
        process.stop()
    # The n-th of a round of ENTRIES is due with its round.
    rounds = [arrived[start : start + ENTRIES] for start in range(0, len(arrived), ENTRIES)]
    late = [
        1000 * (at - started - number)
        for number, each in enumerate(rounds)
        if number
        for at in each
    ]
    name = f"{ENTRIES:,} schedules every second for {seconds} s"
    yield Row(name, "Celery beat on Redis", "ms late, p50", percentile(late or [0.0], 0.5))
    yield Row(name, "Celery beat on Redis", "ms late, p99", percentile(late or [0.0], 0.99))
    yield Row(name, "Celery beat on Redis", "missing", max(0, ENTRIES * seconds - len(arrived)))
    yield Row(name, "Celery beat on Redis", "cores used", cpu / seconds)
