"""What order by key costs: the same tasks without a key, with many keys, with few, and with one."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.drivers import Taskq
from benchmarks.rows import Row
from benchmarks.runs import work_off
from benchmarks.throughput import NOOP
from taskq.message import Writer, new_task_id
from taskq.protocols import Outgoing

KEYS = (0, 10_000, 100, 1)
"""How many keys the tasks have; 0: none has one."""

_PIECE = 5000
"""Records that are sent with one wait."""


def send_keyed(driver: Taskq, count: int, keys: int) -> None:
    """Send so many tasks, their keys one after the other."""
    writer = Writer(NOOP)
    for start in range(0, count, _PIECE):
        messages = []
        for number in range(start, min(count, start + _PIECE)):
            value, headers = writer.write(new_task_id(), (number, "a few letters"), {})
            key = b"key-%d" % (number % keys) if keys else None
            messages.append(Outgoing(driver.queue, value, headers, key))
        errors = driver.app.broker.publish(messages)
        assert not any(errors), next(filter(None, errors))


def all_keys(bootstrap: str, count: int) -> Iterator[Row]:
    """Measure each number of keys with two pools; of a single key a tenth of the tasks, because they run one by one."""
    for pool, concurrency in (("prefork", 2), ("threads", 8)):
        for keys in KEYS:
            some = count if keys != 1 else count // 10
            driver = Taskq(bootstrap)
            send_keyed(driver, some, keys)
            run = work_off(driver, pool=pool, concurrency=concurrency)
            assert run.tally.runs == some, f"{run.tally.runs} of {some} tasks ran"
            name = f"keys, no-op tasks, {pool} -c {concurrency}"
            system = f"{keys:,} key{'s' if keys > 1 else ''}" if keys else "no keys"
            yield Row(name, system, "tasks/s", some / (run.tally.last - run.tally.first))
            yield Row(name, system, "CPU s per 1,000", 1000 * run.cpu / some)
