"""Asking what groups have committed, on a broker that only begins to know them: the process must survive each "not here".

librdkafka's AdminClient does not: it hands that answer to a consumer group that it does not have, and the process ends
(docs/decisions/0012-committed-offsets-by-a-consumer.md). In a process of its own, because it may.
"""

from __future__ import annotations

from tests.support.kafka import Kafka
from tests.support.processes import Processes

PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor

from taskq_kafka.admin import Admin
from taskq_kafka.options import TransportOptions

options = TransportOptions(bootstrap=sys.argv[1])
Admin(options).create_queue("q", timeout=20)
admins = [Admin(options) for _ in range(16)]


def ask(number):
    group = f"g{number}"
    return admins[number].queue_status(["q"], group=group, timeout=30)[0].lag


with ThreadPoolExecutor(16) as threads:
    print("lag:", sum(threads.map(ask, range(16))), flush=True)
"""


def test_process_outlives_a_coordinator_that_is_not_ready(
    own_kafka: Kafka, processes: Processes
) -> None:
    asking = processes.python("-c", PROGRAM, own_kafka.bootstrap)

    asking.wait_for_line("lag: 0", timeout=60)
    assert asking.wait() == 0
