"""kombu on Kafka, without taskq: `taskq_kafka` alone is a transport for kombu and Celery."""

import os

from kombu import Connection, Consumer, Message, Producer, Queue

import taskq_kafka  # noqa: F401 - an import makes taskq:// known; an installed distribution needs none

BROKER = os.environ.get("TASKQ_BROKER", "localhost:9092")
URL = BROKER if "://" in BROKER else f"taskq://{BROKER}"
OPTIONS = {"group": "mailbox", "prefix": os.environ.get("TASKQ_PREFIX", "")}


def main() -> None:
    """Send two messages, receive them, and acknowledge each."""
    mailbox = Queue("mailbox")
    with Connection(URL, transport_options=OPTIONS) as connection:
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
    main()
