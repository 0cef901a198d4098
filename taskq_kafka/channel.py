"""kombu's verbs, and the batch verbs of a worker's hot path, on Kafka. Decides nothing.

Two ways to consume, over the same tracker:

- kombu's: `basic_consume`, `basic_get`, `basic_ack` …; each queue has a pump, a thread that owns its consumer, and
  so has each of its priority steps whose topic exists: higher ones are delivered first, always.
- the worker's: `listen`, `fetch`, `claim`, `settle`; the calling thread owns the consumer. One queue a channel.

A record that is neither acked nor claimed when the channel closes stays uncommitted and comes again.

In a forked child a channel still publishes. What it consumes belongs to the process that opened it: the child has a copy of what
was prefetched, which would run twice, so every verb that consumes raises NotThisProcess there, and closing leaves the group alone.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kombu.exceptions import ChannelError
from kombu.transport import virtual
from kombu.transport.virtual.exchange import DirectExchange

from .errors import ClaimGivenUp, TaskqKafkaError
from .forks import Owner
from .giveup import never
from .pump import BATCH, Pump
from .qos import QoS
from .records import Record, payload_to_record, record_to_payload
from .sending import Message
from .steps import clamped, source_of, sources_of, step_of_source

if TYPE_CHECKING:
    from .consumer import ConsumerStatus, QueueConsumer
    from .membership import RebalanceEvent
    from .moves import LogWrite
    from .transport import Transport

GET_ASSIGNMENT_SECONDS = 10.0
"""How long the first `basic_get` of a queue waits for its place in the group."""

STEP_SECONDS = 2.0
"""For the question which topics of priority steps exist; the queue's acks wait meanwhile."""

GET_SECONDS = 0.5
"""How long `basic_get` waits for a record once the queue is assigned: one fetch, a few times over."""


class Channel(virtual.Channel):  # type: ignore[misc]  # kombu ships no types
    """A channel of the transport `taskq://`. Used by one thread, as kombu's channels are."""

    connection: Transport
    do_restore = False  # nothing to restore: what is not committed comes again
    body_encoding = None  # bodies go as they are
    supports_fanout = False
    exchange_types = MappingProxyType({"direct": DirectExchange})

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        """Open a channel; it connects when it is used."""
        super().__init__(connection, **kwargs)
        self._owner = Owner()
        self._tags = itertools.count(1)
        self._listener: QueueConsumer | None = None
        self._pumps: dict[str, Pump] = {}
        self._callbacks: dict[str, tuple[str, bool, Callable[[Any], None]]] = {}
        self._rotation: list[str] = []
        self._steps: set[str] = set()
        """Topics of priority steps that were found; pumps' threads add to it."""

        self._deliveries = QoS(settle=self._settle_one, redeliver=self._redeliver_one)

    @property
    def qos(self) -> QoS:
        """The unsettled deliveries of this channel."""
        return self._deliveries

    # -- publishing ---------------------------------------------------------------------------------------------------

    def exchange_declare(
        self, exchange: str | None = None, type: str = "direct", **kwargs: Any
    ) -> None:
        """Declare an exchange; `direct` is the only type there is."""
        if (type or "direct") not in self.exchange_types:
            raise ChannelError(
                f"exchange {exchange!r}: type {type!r} is not supported on Kafka by this transport; use 'direct'"
            )
        super().exchange_declare(exchange, type, **kwargs)

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> None:
        """Write a message to each queue that its exchange names; returns when the broker has acknowledged it.

        Raises:
            ChannelError: No queue that this process knows of is bound to the exchange with this key.
            TaskqKafkaError: The broker did not acknowledge it in time; it may have been sent.
        """
        message["properties"]["delivery_info"].update(exchange=exchange, routing_key=routing_key)
        queues = self._lookup(exchange, routing_key)
        if not queues:
            raise ChannelError(
                f"no queue is bound to exchange {exchange!r} with key {routing_key!r}; "
                "declare the queue in this process before publishing"
            )
        self._put_all(queues, message)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self._put_all([queue], message)

    def _put_all(self, queues: Iterable[str], message: dict[str, Any]) -> None:
        records = []
        priority = clamped(message["properties"].get("priority"))
        for queue in queues:
            key, value, headers = payload_to_record(message, queue)
            records.append(Message(source_of(queue, priority), value, headers, key))
        timeout = self.connection.options.publish_timeout
        for error in self.connection.publisher.publish(records, timeout=timeout):
            if error is not None:
                raise error

    # -- queues -------------------------------------------------------------------------------------------------------

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> Any:
        """Make a queue, or with `passive` ask for it: only then the number of waiting messages is counted."""
        if passive:
            return super().queue_declare(queue, passive=True, **kwargs)
        queue = queue or f"amq.gen-{virtual.base.uuid()}"
        self._new_queue(queue)
        return virtual.base.queue_declare_ok_t(queue, 0, 0)

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        self.connection.ensure_queue(queue)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        options = self.connection.options
        return queue in self.connection.admin.queues(timeout=options.connect_timeout)

    def _size(self, queue: str) -> int:
        options, admin = self.connection.options, self.connection.admin
        sources = admin.sources_of(queue, timeout=options.connect_timeout)
        statuses = admin.queue_status(sources, group=options.group, timeout=options.connect_timeout)
        return sum(status.lag for status in statuses)

    def _purge(self, queue: str) -> int:
        return self.connection.admin.purge(
            queue,
            group=self.connection.options.group,
            timeout=self.connection.options.connect_timeout,
        )

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        # Recreated under a running group, a topic's new records would be skipped silently.
        raise ChannelError(f"queue {queue!r}: topics are not deleted; purge it instead")

    # -- kombu's way to consume ---------------------------------------------------------------------------------------

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], None],
        consumer_tag: str,
        **kwargs: Any,
    ) -> None:
        """Deliver the queue's messages to `callback` in `drain_events`. With `no_ack` each is claimed before it is delivered."""
        self._owner.require()
        self._tag_to_queue[consumer_tag] = queue
        self._consumers.add(consumer_tag)
        self._callbacks[consumer_tag] = (queue, no_ack, callback)
        self._rotation.append(consumer_tag)
        for pump in self._pumps_of(queue):
            pump.set_room(self._ready_limit())

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop a consumer; its queue's member leaves the group with the channel, so that unacked messages can be acked."""
        if consumer_tag in self._consumers:
            self._consumers.remove(consumer_tag)
            self._rotation.remove(consumer_tag)
            del self._callbacks[consumer_tag]
            queue = self._tag_to_queue.pop(consumer_tag)
            if queue not in self._tag_to_queue.values():
                self._close_room(queue)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Return one message or None; the first call on a queue waits until the group has given it partitions."""
        self._owner.require()
        pumps = self._pumps_of(queue)
        for pump in pumps:
            pump.set_room(1)
        arrived = self.connection.arrived
        with arrived:
            arrived.wait_for(lambda: all(pump.assigned for pump in pumps), GET_ASSIGNMENT_SECONDS)
        deadline = time.monotonic() + GET_SECONDS
        record = _first_of(pumps)
        while record is None and time.monotonic() < deadline:
            with arrived:
                arrived.wait(deadline - time.monotonic())
            record = _first_of(pumps)
        if queue not in self._tag_to_queue.values():
            self._close_room(queue)
        return None if record is None else self._to_message(record, no_ack)

    def deliver_next(self) -> bool:
        """Deliver one message to its callback, the consumers taking turns; return whether there was one."""
        if self._rotation:
            self._owner.require()
        if not self._deliveries.can_consume():
            return False
        for _ in range(len(self._rotation)):
            tag = self._rotation.pop(0)
            self._rotation.append(tag)
            queue, no_ack, callback = self._callbacks[tag]
            pumps = self._pumps_of(queue)
            for pump in pumps:
                pump.set_room(self._ready_limit())
            record = _first_of(pumps)
            message = None if record is None else self._to_message(record, no_ack)
            if message is not None:
                callback(message)
                return True
        return False

    def _to_message(self, record: Record, no_ack: bool) -> Any:
        """Make kombu's message; None if it had to be claimed first and was refused."""
        if no_ack:
            granted, _ = self._ask(record.queue, lambda consumer: consumer.claim((record,)))
            if not granted:
                return None
        else:
            record.delivery_tag = next(self._tags)
            self._deliveries.append(record)
        return self.Message(record_to_payload(record), channel=self)

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Conclude a message; it is committed within milliseconds, by its queue's own thread."""
        self._owner.require()
        self._deliveries.ack(delivery_tag, multiple=multiple)

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Conclude a message without success, or have that one message delivered again."""
        self._owner.require()
        self._deliveries.reject(delivery_tag, requeue=requeue)

    def basic_recover(self, requeue: bool = False) -> None:
        """Have all unacked messages of this channel delivered again."""
        self._owner.require()
        self._deliveries.recover()

    def basic_qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False
    ) -> None:
        """Set how many messages may be unacked at a time; 0 is no limit."""
        self._deliveries.prefetch_count = prefetch_count

    def _ready_limit(self) -> int:
        allowed = self._deliveries.can_consume_max_estimate()
        return BATCH if allowed is None else min(allowed, BATCH)

    def _pump(self, queue: str) -> Pump:
        self._owner.require()
        pump = self._pumps.get(queue)
        if pump is None:
            self._new_queue(queue)
            is_step = step_of_source(queue) > 0
            if not is_step:
                self._look_for_steps(queue)
            pump = self._pumps[queue] = Pump(
                queue,
                lambda: self._open_consumer(queue),
                self.connection.arrived,
                on_round=None if is_step else partial(self._look_for_steps, queue),
            )
        return pump

    def _pumps_of(self, queue: str) -> list[Pump]:
        """Return the pumps of a queue's priority steps, as far as their topics were found, and its own: the highest step first."""
        own = self._pump(queue)
        if not self._steps:
            return [own]
        steps = [source for source in sources_of(queue) if source in self._steps]
        return [*map(self._pump, steps), own]

    def _look_for_steps(self, queue: str) -> None:
        """Ask for those topics of a queue's steps that were not found before. First who opens the pump, then its thread."""
        missing = [source for source in sources_of(queue)[:-1] if source not in self._steps]
        if missing:
            with suppress(TaskqKafkaError):  # the next round may fare better
                admin = self.connection.admin
                self._steps.update(admin.existing(missing, timeout=STEP_SECONDS))

    def _close_room(self, queue: str) -> None:
        for source in sources_of(queue):
            pump = self._pumps.get(source)
            if pump is not None:
                pump.set_room(0)

    def _settle_one(self, record: Record) -> None:
        if self._listener is not None:
            self._listener.settle((record,))
        else:
            self._pumps[record.queue].settle(record)

    def _redeliver_one(self, record: Record) -> None:
        if self._listener is not None:
            self._listener.give_back((record,))
        else:
            self._pumps[record.queue].put_back(record)

    def _ask(self, queue: str, function: Callable[[QueueConsumer], Any]) -> Any:
        return self._pumps[queue].ask(function).result()

    # -- the worker's way to consume ----------------------------------------------------------------------------------

    def listen(
        self,
        queue: str,
        *,
        on_rebalance: Callable[[RebalanceEvent], None] | None = None,
        before_revoke: Callable[[Collection[int]], None] = lambda partitions: None,
    ) -> None:
        """Join the group on a queue (made if it is missing); this thread becomes the consumer's owner."""
        if self._listener is not None:
            raise ChannelError(
                f"this channel listens to {self._listener.queue!r} already; open another"
            )
        self._new_queue(queue)
        self._listener = self._open_consumer(
            queue, on_rebalance=on_rebalance, before_revoke=before_revoke
        )

    def fetch(self, limit: int, timeout: float) -> Sequence[Record]:
        """Return what has arrived, at most `limit` records; waits up to `timeout` seconds for the first only."""
        records = self._listening().fetch(limit, timeout)
        for record in records:
            self._deliveries.append(record)
        return records

    def held(self, tags: Iterable[int]) -> set[int]:
        """Return those of the delivery tags that are still ours to claim; the others are forgotten."""
        self._owner.require()
        held = set()
        for tag in tags:
            record = self._deliveries.get(tag)
            if record is not None and self._consumer_of(record).holds(record):
                held.add(tag)
            else:
                self._deliveries.take((tag,))
        return held

    def claim(
        self,
        tags: Sequence[int],
        *,
        start: Collection[int] = (),
        alone: Collection[int] = (),
        give_up: Callable[[], bool] = never,
    ) -> tuple[list[int], list[int]]:
        """Commit exactly these deliveries before they run; return `(granted, refused)` tags.

        Only granted ones may run; refused ones come again, here or elsewhere. Those of `start` are not settled but marked as at
        work, and stay to be settled or released. Blocks until the broker has answered.

        Raises:
            ClaimGivenUp: `give_up()` was true while there was no answer.
            ChannelError: With `start` on a channel that does not listen.
        """
        self._owner.require()
        records = self._deliveries.take(tags)
        if start:
            listener = self._listening()
            granted, _ = listener.claim(
                records,
                start=[record for record in records if record.delivery_tag in start],
                alone=[record for record in records if record.delivery_tag in alone],
                give_up=give_up,
            )
            for record in granted:
                if record.delivery_tag in start:
                    self._deliveries.append(record)
        elif self._listener is not None:
            granted, _ = self._listener.claim(records, give_up=give_up)
        else:
            granted = self._claim_pumped(records, give_up)
        yes = {record.delivery_tag for record in granted}
        return [tag for tag in tags if tag in yes], [tag for tag in tags if tag not in yes]

    def _claim_pumped(self, records: list[Record], give_up: Callable[[], bool]) -> list[Record]:
        granted: list[Record] = []
        for queue in {record.queue for record in records}:
            batch = [record for record in records if record.queue == queue]
            granted += self._ask(queue, partial(_claim, batch, give_up))
        return granted

    def move(
        self,
        tags: Sequence[int],
        writes: Sequence[LogWrite],
        *,
        give_up: Callable[[], bool] = never,
    ) -> tuple[list[int], list[int]]:
        """Write a record to a log in the place of each delivery and settle it, in one transaction; `(granted, refused)` tags.

        Refused ones come again, here or elsewhere; nothing was written for them. Blocks until the broker has answered.

        Raises:
            ClaimGivenUp: `give_up()` was true while there was no answer. Each record was moved, or comes again.
            TaskqKafkaError: Nothing was moved, and all are still held.
        """
        listener = self._listening()
        records: list[Record] = []
        moves: list[LogWrite] = []
        for tag, write in zip(tags, writes, strict=True):
            record = self._deliveries.get(tag)
            if record is not None:
                records.append(record)
                moves.append(write)
        try:
            granted, _ = listener.move(records, moves, give_up=give_up)
        except ClaimGivenUp:
            self._deliveries.take(tags)
            raise
        self._deliveries.take(tags)
        yes = {record.delivery_tag for record in granted}
        return [tag for tag in tags if tag in yes], [tag for tag in tags if tag not in yes]

    def settle(self, tags: Sequence[int]) -> None:
        """Conclude deliveries; committed with the next fetch, claim or close."""
        self._owner.require()
        records = self._deliveries.take(tags)
        if self._listener is not None:
            self._listener.settle(records)
        else:
            for record in records:
                self._settle_one(record)

    def release(self, tags: Sequence[int], *, died: bool = False) -> None:
        """Give unsettled deliveries back: they will be fetched again, by this member or another.

        With `died` it is kept that a process died with each of them, and with nothing else at work.
        """
        self._listening().give_back(self._deliveries.take(tags), died=died)

    def keep_company(self, tags: Sequence[int]) -> None:
        """Have it committed that started deliveries are not alone at work any more."""
        records = (self._deliveries.get(tag) for tag in tags)
        listener = self._listening()
        listener.keep_company([record for record in records if record is not None])
        listener.commit_settled()

    def commit(self) -> bool:
        """Commit what is settled now, without fetching; what gets no answer (False) stays for the next time."""
        return self._listening().commit_settled()

    def pause(self) -> None:
        """Fetch nothing more."""
        self._listening().pause()

    def resume(self) -> None:
        """Fetch again, at once."""
        self._listening().resume()

    def pass_over(self, partitions: Collection[int], reason: str) -> None:
        """Fetch nothing more from these partitions, and again from others that were passed over for this reason only."""
        self._listening().pass_over(partitions, reason)

    def leave(self) -> None:
        """Leave the group; unclaimed deliveries are void."""
        listener = self._listening()
        listener.leave()
        self._deliveries.forget_unless(listener.holds)

    def rejoin(self) -> None:
        """Join the group again."""
        self._listening().rejoin()

    def status(self) -> ConsumerStatus:
        """Return the place in the group; of a channel that does not listen, none."""
        from .consumer import ConsumerStatus  # as in Transport.open_consumer

        return self._listening().status() if self._listener is not None else ConsumerStatus()

    def other_members(self) -> int:
        """Return how many members of other workers could take over this queue's partitions. Blocks for a round trip."""
        listener = self._listening()
        return self.connection.groups.others(listener.topic, self.connection.own_members())

    def _listening(self) -> QueueConsumer:
        self._owner.require()
        if self._listener is None:
            raise ChannelError("this channel does not listen to a queue; call listen() first")
        return self._listener

    def _consumer_of(self, record: Record) -> QueueConsumer | Pump:
        return self._listener if self._listener is not None else self._pumps[record.queue]

    def _open_consumer(self, queue: str, **callbacks: Any) -> QueueConsumer:
        return self.connection.open_consumer(queue, tags=self._tags, **callbacks)

    def close(self) -> None:
        """Commit what is settled and leave the group. What is not settled comes again."""
        if not self.closed:
            self._close_consumers()
        super().close()

    def _close_consumers(self) -> None:
        pumps, self._pumps = list(self._pumps.values()), {}
        listener, self._listener = self._listener, None
        # In a forked child they are the parent's, and locks of theirs may be held by threads that do not exist here.
        if self._owner.is_here():
            for pump in pumps:
                pump.close()
            if listener is not None:
                listener.close()

    def prepare_message(self, body: Any, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        """Make the payload that `basic_publish` takes."""
        return super().prepare_message(body, *args, **kwargs)  # type: ignore[no-any-return]


def _first_of(pumps: Iterable[Pump]) -> Record | None:
    return next((record for record in (pump.take() for pump in pumps) if record is not None), None)


def _claim(
    records: list[Record], give_up: Callable[[], bool], consumer: QueueConsumer
) -> list[Record]:
    """Claim in the thread that owns the consumer."""
    return consumer.claim(records, give_up=give_up)[0]
