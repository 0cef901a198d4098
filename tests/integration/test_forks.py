"""A process forks while it holds clients: the child neither crashes nor uses them, and publishes and consumes by its own."""

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


CONSUME = """
import os, sys, time
import kombu
from taskq_kafka.errors import NotThisProcess

COUNT = 6
queue = sys.argv[2]
url, options = f"taskq://{sys.argv[1]}", {"group": queue, "partitions": 1}
connection = kombu.Connection(url, transport_options=options)
for number in range(COUNT):
    connection.Producer().publish(number, routing_key=queue)
channel = connection.channel()
delivered = []
channel.basic_consume(queue, VERB, delivered.append, "tag")
while not delivered:
    connection.drain_events(timeout=20)
pump = channel._pumps[queue]
while len(pump._ready) < COUNT - 1:  # prefetched: what a fork copies
    time.sleep(0.01)


def refused(verb):
    try:
        verb()
    except NotThisProcess:
        return True
    return False


if os.fork() == 0:
    verbs = {
        "drain_events": lambda: connection.drain_events(timeout=1),
        "basic_get": lambda: channel.basic_get(queue),
        "basic_ack": lambda: channel.basic_ack(delivered[0].delivery_tag),
        "basic_reject": lambda: channel.basic_reject(delivered[0].delivery_tag, True),
        "basic_recover": channel.basic_recover,
        "take": pump.take,
    }
    taken = [name for name, verb in verbs.items() if not refused(verb)]
    print("taken in the child:", taken, file=sys.stderr)
    channel.close()
    connection.close()
    # By a connection of its own it consumes as anybody.
    with kombu.Connection(url, transport_options={**options, "group": queue + "-2"}) as own:
        channel = own.channel()
        while (message := channel.basic_get(queue, no_ack=True)) is None:
            pass  # it waits for half a second: a slow broker may need more
        message.payload
    sys.exit(1 if taken else 0)

_, status = os.wait()
print(status, flush=True)
while len(delivered) < COUNT:
    connection.drain_events(timeout=20)
assert [message.payload for message in delivered] == list(range(COUNT)), delivered
for message in delivered:
    ACK
connection.close()
"""


def run(kafka: Kafka, queue: str, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, kafka.bootstrap, queue],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_child_that_collects_and_exits_does_not_crash(kafka: Kafka, queue: str) -> None:
    run(kafka, queue, FORK.replace("    CHILD\n", COLLECT))


def test_child_publishes_by_a_client_of_its_own(kafka: Kafka, queue: str) -> None:
    run(kafka, queue, FORK.replace("    CHILD\n", PUBLISH))


def test_child_is_handed_nothing_of_what_its_parent_had_prefetched(
    kafka: Kafka, queue: str
) -> None:
    run(kafka, queue, CONSUME.replace("VERB", "False").replace("ACK", "message.ack()"))


def test_child_claims_nothing_of_what_its_parent_had_prefetched(kafka: Kafka, queue: str) -> None:
    run(kafka, queue, CONSUME.replace("VERB", "True").replace("ACK", "pass"))
