"""kombu on Kafka, without taskq: `taskq_kafka` alone is a transport for kombu and Celery."""

import os
import sys

from kombu import Connection, Consumer, Message, Producer, Queue
from kombu.exceptions import OperationalError

from taskq_kafka.errors import TaskqKafkaError  # makes taskq:// known; installed, it is without

BROKER = os.environ.get("TASKQ_BROKER", "localhost:9092")
URL = BROKER if "://" in BROKER else f"taskq://{BROKER}"
OPTIONS = {
    "group": "mailbox",
    "prefix": os.environ.get("TASKQ_PREFIX", ""),
    "connect_timeout": 5,
}


def main() -> None:
    """Send two messages, receive them, and acknowledge each."""
    mailbox = Queue("mailbox")
    with Connection(URL, transport_options=OPTIONS) as connection:
        connection.ensure_connection(max_retries=0)  # kombu tries twice else
        producer = Producer(connection.channel())
        for subject in ("lunch?", "yes!"):
            producer.publish({"subject": subject}, routing_key="mailbox", declare=[mailbox])
            print(f"sent: {subject}")

        received: list[dict[str, str]] = []

        def on_message(body: dict[str, str], message: Message) -> None:
            received.append(body)
            print(f"received: {body['subject']}")
            message.ack()  # committed to the group within milliseconds

        with Consumer(connection.channel(), [mailbox], callbacks=[on_message]):
            while len(received) < 2:
                connection.drain_events(timeout=30)


if __name__ == "__main__":
    try:
        main()
    except (OperationalError, TaskqKafkaError) as error:
        sys.exit(f"mailbox: {error}")
