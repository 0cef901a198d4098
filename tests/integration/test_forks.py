"""A process forks while it holds clients: the child neither crashes nor uses them, and publishes by its own."""

from __future__ import annotations

import subprocess
import sys

from tests.support.kafka import Kafka

FORK = """
import gc, os, sys
from taskq_kafka.admin import Admin
from taskq_kafka.errors import NotThisProcess
from taskq_kafka.forks import Owner, new_consumer
from taskq_kafka.options import TransportOptions
from taskq_kafka.publisher import get_publisher
from taskq_kafka.sending import Message

options = TransportOptions(bootstrap=sys.argv[1])
queue = sys.argv[2]
publisher = get_publisher(options)
assert publisher.publish([Message(queue, b"parent")], timeout=10) == [None]
consumer = new_consumer(options.consumer_config(queue, "classic"))
consumer.subscribe([queue])
for _ in range(5):
    consumer.poll(0.1)
admin = Admin.shared(options)
admin.dead_letters(queue, timeout=10)
admin.queue_status([queue], group="g", timeout=10)
owner = Owner()

if os.fork() == 0:
    CHILD

_, status = os.wait()
print(status, flush=True)
assert publisher.publish([Message(queue, b"parent again")], timeout=10) == [None]
consumer.poll(0.1)
consumer.close()
"""

COLLECT = """
    del publisher, consumer, admin
    gc.collect()
    sys.exit(0)
"""

PUBLISH = """
    child = get_publisher(options)
    assert child is not publisher
    assert child.publish([Message(queue, b"child")], timeout=10) == [None]
    assert publisher.publish([Message(queue, b"by the inherited one")], timeout=10) == [None]
    assert Admin.shared(options).queue_status([queue], group="g", timeout=10)[0].lag == 3
    try:
        owner.require()
    except NotThisProcess:
        sys.exit(0)
    sys.exit(1)
"""


def run(kafka: Kafka, queue: str, child: str) -> None:
    program = FORK.replace("    CHILD\n", child)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, kafka.bootstrap, queue],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_child_that_collects_and_exits_does_not_crash(kafka: Kafka, queue: str) -> None:
    run(kafka, queue, COLLECT)


def test_child_publishes_by_a_client_of_its_own(kafka: Kafka, queue: str) -> None:
    run(kafka, queue, PUBLISH)
