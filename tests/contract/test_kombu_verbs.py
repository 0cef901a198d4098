"""kombu's own verbs, as any program that knows kombu uses them, on every broker.

Several of them are what kombu's own Kafka transport gets wrong: it commits all it has polled, raises nothing when the broker is
away, and lets an idle queue delay a busy one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kombu
import pytest
from kombu.exceptions import ChannelError, OperationalError

from taskq_kafka.steps import source_of
from tests.support.brokers import PATIENCE, SILENCE, Broker
from tests.support.ports import reserve_port
from tests.support.waiting import Deadline, Stopwatch, wait_until

JSON = {"content_type": "application/json", "content_encoding": "utf-8"}


def publish(connection: Any, queue: str, *bodies: Any, **properties: Any) -> None:
    producer = connection.Producer()
    for body in bodies:
        producer.publish(body, exchange="", routing_key=queue, **properties)


@contextmanager
def consuming(connection: Any, *queues: str, **options: Any) -> Iterator[list[Any]]:
    """Consume from queues on a new channel, and give the list in which messages arrive while `drain` is called."""
    arrived: list[Any] = []
    channel = connection.channel()
    prefetch = options.pop("prefetch", 0)
    consumer = kombu.Consumer(
        channel,
        [kombu.Queue(queue, routing_key=queue) for queue in queues],
        on_message=arrived.append,
        auto_declare=False,
        **options,
    )
    consumer.qos(prefetch_count=prefetch)
    with consumer:
        yield arrived
    channel.close()


def drain(connection: Any, arrived: list[Any], count: int) -> list[Any]:
    """Drain until so many messages have arrived in all."""
    deadline = Deadline(PATIENCE)
    while len(arrived) < count:
        try:
            connection.drain_events(timeout=deadline.remaining)
        except TimeoutError:
            raise AssertionError(f"{len(arrived)} of {count} messages came") from None
    return arrived


def is_silent(connection: Any) -> bool:
    """Return whether nothing arrives for a while."""
    try:
        connection.drain_events(timeout=SILENCE)
    except TimeoutError:
        return True
    return False


def payloads(messages: list[Any]) -> list[Any]:
    return sorted(message.payload for message in messages)


def test_a_body_of_bytes_arrives_as_it_is(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    body = bytes(range(256))
    publish(
        connection,
        queue,
        body,
        content_type="application/octet-stream",
        content_encoding="binary",
        serializer=None,
    )

    with consuming(connection, queue, accept=["application/octet-stream"]) as arrived:
        [message] = drain(connection, arrived, 1)
        assert message.body == body
        assert (message.content_type, message.content_encoding) == (
            "application/octet-stream",
            "binary",
        )


def test_headers_and_properties_keep_their_types(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    headers = {
        "text": "ü",
        "number": 3,
        "float": 0.5,
        "none": None,
        "yes": True,
        "list": [1, [None, "x"]],
        "dict": {"a": {"b": []}},
        "empty": "",
        "retries": 2,
        "timelimit": [None, 30],
    }
    publish(
        connection,
        queue,
        {"a": 1},
        headers=headers,
        correlation_id="c-1",
        reply_to="r",
        priority=7,
    )

    with consuming(connection, queue) as arrived:
        [message] = drain(connection, arrived, 1)
        assert message.headers == headers
        assert message.payload == {"a": 1}
        properties = message.properties
        assert (properties["correlation_id"], properties["reply_to"]) == ("c-1", "r")
        assert properties["priority"] == 7
        assert message.delivery_info["routing_key"] == queue
        assert not message.delivery_info["redelivered"]


def test_a_message_of_a_higher_priority_is_delivered_before_those_that_wait(
    broker: Broker, queue: str
) -> None:
    connection = broker.connect()
    publish(connection, queue, "first", priority=9)
    publish(connection, queue, "first")
    with consuming(connection, queue) as arrived:
        drain(connection, arrived, 2)  # from here on the group has given it all partitions
        publish(connection, queue, *range(100))
        publish(connection, queue, "high", "higher", priority=9)
        publish(connection, queue, *range(100, 200))
        if broker.kind != "memory":  # which fetches nothing
            fetched = arrived[0].channel._pumps[source_of(queue, 9)]._ready
            wait_until(lambda: len(fetched) == 2, timeout=PATIENCE, what="both to be fetched")

        bodies = [message.payload for message in drain(connection, arrived, 204)[2:]]

        assert set(bodies[:2]) == {"high", "higher"}
        for message in arrived:
            message.ack()


def test_priorities_count_as_one_queue_and_are_purged_with_it(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    publish(connection, queue, "low")
    for priority in (3, 9):
        publish(connection, queue, "high", priority=priority)
    channel = connection.channel()

    assert channel.queue_declare(queue, passive=True).message_count == 3
    if broker.kind != "mock":  # which cannot delete records
        assert channel.queue_purge(queue) == 3
        assert channel.queue_declare(queue, passive=True).message_count == 0


def test_a_consumer_hears_of_a_priority_that_is_used_for_the_first_time(
    broker: Broker, queue: str
) -> None:
    connection = broker.connect()
    publish(connection, queue, "low")
    with consuming(connection, queue) as arrived:
        drain(connection, arrived, 1)

        publish(connection, queue, "high", priority=9)

        assert payloads(drain(connection, arrived, 2)) == ["high", "low"]
        for message in arrived:
            message.ack()


def test_an_ack_does_not_settle_an_earlier_message(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    publish(connection, queue, *range(5), key="one partition")
    with consuming(connection, queue) as arrived:
        by_payload = {message.payload: message for message in drain(connection, arrived, 5)}
        for number in (1, 3, 4):
            by_payload[number].ack()

    with consuming(connection, queue) as arrived:
        assert payloads(drain(connection, arrived, 2)) == [0, 2]
        assert is_silent(connection)


def test_what_is_acked_does_not_come_again_and_the_rest_does(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    publish(connection, queue, *range(6))
    with consuming(connection, queue) as arrived:
        messages = drain(connection, arrived, 6)
        for message in messages[:4]:
            message.ack()
        rest = payloads(messages[4:])

    other = broker.connect()
    with consuming(other, queue) as arrived:
        assert payloads(drain(other, arrived, 2)) == rest
        assert is_silent(other)


def test_multiple_acks_all_before(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    publish(connection, queue, *range(4))
    with consuming(connection, queue) as arrived:
        messages = drain(connection, arrived, 4)
        last = payloads(messages[3:])
        messages[2].ack(multiple=True)

    with consuming(connection, queue) as arrived:
        assert payloads(drain(connection, arrived, 1)) == last
        assert is_silent(connection)


def test_a_rejected_message_is_gone(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    publish(connection, queue, 1, 2)
    with consuming(connection, queue) as arrived:
        first, second = drain(connection, arrived, 2)
        first.reject()
        kept = second.payload

    with consuming(connection, queue) as arrived:
        assert payloads(drain(connection, arrived, 1)) == [kept]
        assert is_silent(connection)


def test_a_requeued_message_comes_again_and_says_so(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    publish(connection, queue, *range(3), key="one partition")

    with consuming(connection, queue) as arrived:
        messages = drain(connection, arrived, 3)
        messages[1].requeue()
        again = drain(connection, arrived, 4)[3]
        assert again.payload == messages[1].payload
        assert again.delivery_info["redelivered"]
        assert again.delivery_tag != messages[1].delivery_tag
        assert is_silent(connection)
        again.ack()

    with consuming(connection, queue) as arrived:
        assert payloads(drain(connection, arrived, 2)) == [0, 2]


def test_recover_brings_all_unacked_messages_again(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    publish(connection, queue, *range(3))

    with consuming(connection, queue) as arrived:
        messages = drain(connection, arrived, 3)
        messages[0].ack()
        messages[0].channel.basic_recover(requeue=True)

        again = drain(connection, arrived, 5)[3:]
        assert payloads(again) == payloads(messages[1:3])
        assert all(message.delivery_info["redelivered"] for message in again)


def test_no_more_than_the_prefetch_count_is_unacked(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    publish(connection, queue, *range(5))

    with consuming(connection, queue, prefetch=2) as arrived:
        drain(connection, arrived, 2)
        assert is_silent(connection)
        arrived[0].ack()
        drain(connection, arrived, 3)
        assert is_silent(connection)
        while len(arrived) < 5:
            arrived[-1].ack()
            drain(connection, arrived, len(arrived) + 1)
        assert payloads(arrived) == [0, 1, 2, 3, 4]


def test_an_idle_queue_does_not_delay_a_busy_one(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    idle = [f"{queue}-idle-{number}" for number in range(3)]
    publish(connection, queue, *range(100))

    with consuming(connection, *idle, queue) as arrived:
        drain(connection, arrived, 1)
        drain(connection, arrived, 100)

        assert payloads(arrived) == list(range(100))


def test_a_timeout_is_obeyed(broker: Broker, queue: str) -> None:
    connection = broker.connect()

    with consuming(connection, queue):
        watch = Stopwatch()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.2)
        assert watch.seconds >= 0.15


def test_publishing_without_a_broker_raises_within_its_time(broker: Broker, queue: str) -> None:
    broker.needs("network")
    port = reserve_port()
    dead = Broker(broker.kind, f"127.0.0.1:{port.number}", broker.group)
    connection = dead.connect(publish_timeout=1, connect_timeout=1, max_retries=0)

    with pytest.raises((OperationalError, ConnectionError)):
        publish(connection, queue, 1)

    dead.close()
    port.release()


def test_a_direct_exchange_routes_by_key(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    exchange = kombu.Exchange(queue + "-exchange", type="direct")
    names = [f"{queue}-{name}" for name in ("red", "blue")]
    with connection.channel() as channel:
        for name, key in zip(names, ("red", "blue"), strict=True):
            kombu.Queue(name, exchange, routing_key=key)(channel).declare()
        producer = kombu.Producer(channel, exchange)
        for number, key in enumerate(("red", "blue", "red")):
            producer.publish(number, routing_key=key)

    with consuming(connection, names[0]) as arrived:
        assert payloads(drain(connection, arrived, 2)) == [0, 2]
        assert arrived[0].delivery_info["exchange"] == exchange.name
        assert arrived[0].delivery_info["routing_key"] == "red"
    with consuming(connection, names[1]) as arrived:
        assert payloads(drain(connection, arrived, 1)) == [1]
        assert is_silent(connection)


def test_two_queues_bound_with_one_key_both_get_the_message(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    exchange = kombu.Exchange(queue + "-exchange", type="direct")
    names = [f"{queue}-{number}" for number in (1, 2)]
    with connection.channel() as channel:
        for name in names:
            kombu.Queue(name, exchange, routing_key="key")(channel).declare()
        kombu.Producer(channel, exchange).publish("both", routing_key="key")

    for name in names:
        with consuming(connection, name) as arrived:
            assert payloads(drain(connection, arrived, 1)) == ["both"]


def test_a_message_that_no_queue_would_get_is_an_error(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    exchange = kombu.Exchange(queue + "-exchange", type="direct")

    with connection.channel() as channel, pytest.raises(ChannelError):
        kombu.Producer(channel, exchange).publish("lost", routing_key="nowhere")


def test_other_types_of_exchange_are_refused(broker: Broker, queue: str) -> None:
    connection = broker.connect()

    with connection.channel() as channel, pytest.raises(ChannelError):
        kombu.Exchange(queue + "-exchange", type="fanout")(channel).declare()


def test_basic_get_returns_one_message_or_none(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    publish(connection, queue, "one")
    channel = connection.channel()
    bound = kombu.Queue(queue, routing_key=queue)(channel)

    # None also where none has come for half a second.
    message = wait_until(bound.get, timeout=PATIENCE, what="the message")
    nothing = bound.get()

    assert message.payload == "one"
    assert nothing is None
    message.ack()
    channel.close()
    with consuming(connection, queue):
        assert is_silent(connection)


def test_without_acks_a_message_is_claimed_before_it_is_delivered(
    broker: Broker, queue: str
) -> None:
    connection = broker.connect()
    publish(connection, queue, "one")
    admin = connection.transport.admin

    with consuming(connection, queue, no_ack=True) as arrived:
        drain(connection, arrived, 1)
        [status] = admin.queue_status([queue], group=broker.group, timeout=PATIENCE)
        assert status.lag == 0

    with consuming(connection, queue):
        assert is_silent(connection)


def test_a_passive_declaration_tells_how_many_wait(broker: Broker, queue: str) -> None:
    connection = broker.connect()
    publish(connection, queue, *range(3))

    with connection.channel() as channel:
        declared = kombu.Queue(queue)(channel).queue_declare(passive=True)

    assert declared.message_count == 3


def test_a_passive_declaration_of_a_missing_queue_is_an_error(broker: Broker, queue: str) -> None:
    broker.needs("missing topics")

    with broker.connect().channel() as channel, pytest.raises(ChannelError):
        kombu.Queue(queue)(channel).queue_declare(passive=True)


def test_a_purge_deletes_what_waits_and_tells_how_many(broker: Broker, queue: str) -> None:
    broker.needs("purge")
    connection = broker.connect()
    publish(connection, queue, *range(7))

    with connection.channel() as channel:
        assert kombu.Queue(queue)(channel).purge() == 7
    publish(connection, queue, "after")

    with consuming(connection, queue) as arrived:
        assert payloads(drain(connection, arrived, 1)) == ["after"]
        assert is_silent(connection)


def test_a_cancelled_consumer_gets_nothing_more_and_may_still_ack(
    broker: Broker, queue: str
) -> None:
    connection = broker.connect()
    publish(connection, queue, "first")
    arrived: list[Any] = []
    with connection.channel() as channel:
        consumer = kombu.Consumer(
            channel, [kombu.Queue(queue)], on_message=arrived.append, auto_declare=False
        )
        consumer.consume()
        drain(connection, arrived, 1)
        consumer.cancel()
        publish(connection, queue, "second")
        assert is_silent(connection)
        arrived[0].ack()

    with consuming(connection, queue) as arrived:
        assert payloads(drain(connection, arrived, 1)) == ["second"]
        assert is_silent(connection)


def test_a_simple_queue_gives_what_was_put(broker: Broker, queue: str) -> None:
    connection = broker.connect()

    with connection.SimpleQueue(queue) as simple:
        simple.put({"hello": "world"}, headers={"n": 1})
        message = simple.get(timeout=PATIENCE)
        assert message.payload == {"hello": "world"}
        assert message.headers == {"n": 1}
        message.ack()
        with pytest.raises(simple.Empty):
            simple.get(timeout=0.2)


def test_a_retried_publish_reaches_the_broker(broker: Broker, queue: str) -> None:
    connection = broker.connect()

    publish(connection, queue, "retried", retry=True, retry_policy={"max_retries": 2})

    with consuming(connection, queue) as arrived:
        assert payloads(drain(connection, arrived, 1)) == ["retried"]


def test_a_connection_error_is_retried_on_a_new_channel(broker: Broker) -> None:
    connection = broker.connect()
    channels: list[Any] = []

    def fail_once(channel: Any) -> str:
        channels.append(channel)
        if len(channels) == 1:
            raise connection.connection_errors[0]("127.0.0.1:1")
        return "done"

    answer, _ = connection.autoretry(fail_once, interval_start=0, interval_step=0)()

    assert answer == "done"
    assert len(channels) == 2
    assert channels[0] is not channels[1]


def test_a_mistake_is_not_retried(broker: Broker) -> None:
    connection = broker.connect()
    calls: list[Any] = []

    def fail(channel: Any) -> None:
        calls.append(channel)
        raise ChannelError("no queue is bound")

    with pytest.raises(ChannelError):
        connection.autoretry(fail, max_retries=3, interval_start=0)()

    assert len(calls) == 1


def test_an_unknown_transport_option_is_an_error_that_offers_the_nearest(broker: Broker) -> None:
    with pytest.raises(ValueError, match="did you mean 'partitions'"):
        broker.connect(partition=3).channel()


def test_a_transport_option_with_a_wrong_value_is_an_error(broker: Broker) -> None:
    with pytest.raises(ValueError, match="partitions"):
        broker.connect(partitions=0).channel()
