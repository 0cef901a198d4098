"""kombu's verbs and the worker's batch verbs on a cluster in memory. Decides nothing; log.py does.

Both ways to consume make one group member a queue. A record that is neither acked nor claimed when the channel closes comes again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kombu.exceptions import ChannelError
from kombu.transport import virtual
from kombu.transport.virtual.exchange import DirectExchange

from taskq.memory.errors import QueueMissing
from taskq.memory.log import Member
from taskq.protocols import IntakeStatus, Outgoing, Rebalance
from taskq.timing.shards import Write
from taskq_kafka.records import Record, payload_to_record, record_to_payload
from taskq_kafka.steps import clamped, source_of, sources_of

if TYPE_CHECKING:
    from taskq.memory.transport import Transport


def _never() -> bool:
    return False


class Channel(virtual.Channel):  # type: ignore[misc]  # kombu counts as untyped
    """A channel of `memory://`, and a `taskq.protocols.IntakeChannel`. Used by one thread, as kombu's channels are."""

    connection: Transport
    do_restore = False  # nothing to restore: what is not settled comes again
    body_encoding = None  # bodies go as they are
    supports_fanout = False
    exchange_types = MappingProxyType({"direct": DirectExchange})

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        """Open a channel."""
        super().__init__(connection, **kwargs)
        self._cluster = connection.cluster
        self._options = connection.options
        self._tags = itertools.count(1)
        self._members: dict[str, Member] = {}
        self._listener: Member | None = None
        self._on_rebalance: Callable[[Rebalance], None] | None = None
        self._before_revoke: Callable[[Collection[int]], None] = lambda partitions: None
        self._is_paused = False
        self._delivered: dict[int, Record] = {}
        self._prefetch_count = 0
        self._callbacks: dict[str, tuple[str, bool, Callable[[Any], None]]] = {}

    # -- publishing ---------------------------------------------------------------------------------------------------

    def exchange_declare(
        self, exchange: str | None = None, type: str = "direct", **kwargs: Any
    ) -> None:
        """Declare an exchange; `direct` is the only type there is."""
        if (type or "direct") not in self.exchange_types:
            raise ChannelError(
                f"exchange {exchange!r}: type {type!r} is not supported; use 'direct'"
            )
        super().exchange_declare(exchange, type, **kwargs)

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> None:
        """Write a message to each queue that its exchange names.

        Raises:
            ChannelError: No queue is bound to the exchange with this key.
        """
        message["properties"]["delivery_info"].update(exchange=exchange, routing_key=routing_key)
        queues = self._lookup(exchange, routing_key)
        if not queues:
            raise ChannelError(
                f"no queue is bound to exchange {exchange!r} with key {routing_key!r}; "
                "declare the queue before publishing"
            )
        for queue in queues:
            self._put(queue, message)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        key, value, headers = payload_to_record(message, queue)
        source = source_of(queue, clamped(message["properties"].get("priority")))
        outgoing = Outgoing(source, value, headers, key)
        for error in self.connection.publisher.publish([outgoing], timeout=0):
            if error is not None:
                raise error

    # -- queues -------------------------------------------------------------------------------------------------------

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        if self._options.auto_create:
            self.connection.admin.create_queue(queue, timeout=0)

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return queue in self.connection.admin.queues(timeout=0)

    def _size(self, queue: str) -> int:
        statuses = self.connection.admin.queue_status(
            sources_of(queue), group=self._options.group, timeout=0
        )
        return sum(status.lag for status in statuses)

    def _purge(self, queue: str) -> int:
        return self.connection.admin.purge(queue, group=self._options.group, timeout=0)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
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
        self._tag_to_queue[consumer_tag] = queue
        self._consumers.add(consumer_tag)
        self._member(queue)
        self._callbacks[consumer_tag] = (queue, no_ack, callback)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop a consumer; its queue's member leaves the group with the channel, so that unacked messages can be acked."""
        if consumer_tag in self._consumers:
            self._consumers.remove(consumer_tag)
            del self._callbacks[consumer_tag], self._tag_to_queue[consumer_tag]

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Return one message or None."""
        return self._next_message(queue, no_ack)

    def next_delivery(self) -> tuple[Callable[[Any], None], Any] | None:
        """Return a callback and the message for it, the consumers taking turns; None if there is nothing to deliver."""
        if self._prefetch_count and len(self._delivered) >= self._prefetch_count:
            return None
        for tag, consumer in list(self._callbacks.items()):
            self._callbacks[tag] = self._callbacks.pop(tag)  # to the end of the line
            queue, no_ack, callback = consumer
            message = self._next_message(queue, no_ack)
            if message is not None:
                return callback, message
        return None

    def _next_message(self, queue: str, no_ack: bool) -> Any:
        """Return the next message of a queue's highest priority step that has one."""
        for member in self._members_of(queue):
            with self._cluster.locked():
                member.hear()
                taken = member.take(1)
                if no_ack:
                    member.settle(taken)
            for record in taken:
                self._deliver(record, is_settled=no_ack)
                return self.Message(record_to_payload(record), channel=self)
        return None

    def _members_of(self, queue: str) -> list[Member]:
        """Return this channel's members on the queue and on those of its priority steps that exist, the highest first."""
        own = self._member(queue)
        with self._cluster.locked() as log:
            steps = [
                source
                for source in sources_of(queue)[:-1]
                if self._options.topic_of(source) in log.topics
            ]
        return [*map(self._member, steps), own]

    def _deliver(self, record: Record, *, is_settled: bool = False) -> None:
        record.delivery_tag = next(self._tags)
        if not is_settled:
            self._delivered[record.delivery_tag] = record

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Conclude a message, and with `multiple` all delivered before it."""
        tags = [tag for tag in self._delivered if tag <= delivery_tag]
        self.settle(tags if multiple else [delivery_tag])

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Conclude a message without success, or have that one message delivered again."""
        if requeue:
            self._return([delivery_tag], redelivered=True)
        else:
            self.settle([delivery_tag])

    def basic_recover(self, requeue: bool = False) -> None:
        """Have all unacked messages of this channel delivered again."""
        self._return(list(self._delivered), redelivered=True)

    def basic_qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False
    ) -> None:
        """Set how many messages may be unacked at a time; 0 is no limit."""
        self._prefetch_count = prefetch_count

    # -- the worker's way to consume ----------------------------------------------------------------------------------

    def listen(
        self,
        queue: str,
        *,
        on_rebalance: Callable[[Rebalance], None] | None = None,
        before_revoke: Callable[[Collection[int]], None] = lambda partitions: None,
    ) -> None:
        """Join the group on a queue (made if it is missing).

        `before_revoke` is called by `leave` alone: a rebalance takes effect at once here, and nothing can be settled in between.
        """
        if self._listener is not None:
            raise ChannelError(
                f"this channel listens to {self._listener.queue!r} already; open another"
            )
        self._on_rebalance = on_rebalance
        self._before_revoke = before_revoke
        self._listener = self._member(queue)

    def fetch(self, limit: int, timeout: float) -> list[Record]:
        """Return what has arrived, at most `limit` records; waits up to `timeout` seconds for the first only."""
        member = self._listening()
        heard: list[Rebalance] = []
        records: list[Record] = []

        def has_arrived() -> bool:
            heard.extend(member.hear())
            if not self._is_paused:
                records.extend(member.take(limit))
            return bool(heard or records)

        with self._cluster.changed:
            self._cluster.changed.wait_for(has_arrived, timeout)
        for event in heard:
            if self._on_rebalance is not None:
                self._on_rebalance(event)
        for record in records:
            self._deliver(record)
        return records

    def held(self, tags: Iterable[int]) -> set[int]:
        """Return those of the delivery tags that are still ours to claim; the others are forgotten."""
        held = set()
        with self._cluster.locked():
            for tag in tags:
                record = self._delivered.get(tag)
                if record is not None and self._members[record.queue].has(record):
                    held.add(tag)
                else:
                    self._delivered.pop(tag, None)
        return held

    def claim(
        self,
        tags: Sequence[int],
        *,
        start: Collection[int] = (),
        alone: Collection[int] = (),
        give_up: Callable[[], bool] = _never,
    ) -> tuple[list[int], list[int]]:
        """Commit exactly these deliveries before they run; return `(granted, refused)` tags. The answer comes at once.

        Those of `start` are settled later. No process dies here, so that nothing follows from who was alone at work.
        """
        granted = self._settle([tag for tag in tags if tag not in start])
        with self._cluster.locked():
            for member, records in self._by_member(tag for tag in tags if tag in start):
                started = member.start(records)
                granted += started
                self._delivered |= {record.delivery_tag: record for record in started}
        yes = {record.delivery_tag for record in granted}
        return [tag for tag in tags if tag in yes], [tag for tag in tags if tag not in yes]

    def move(
        self,
        tags: Sequence[int],
        writes: Sequence[Write],
        *,
        give_up: Callable[[], bool] = _never,
    ) -> tuple[list[int], list[int]]:
        """Write a record to a log in the place of each delivery and settle it, as one step; return `(granted, refused)` tags.

        Raises:
            RecordTooLarge: One of them cannot be written; nothing was moved, and all are still held.
        """
        with self._cluster.waking():
            held = self.held(tags)
            moves = [write for tag, write in zip(tags, writes, strict=True) if tag in held]
            # Each could be refused: look before the first is written.
            self.connection.logs.require(moves)
            for error in self.connection.logs.append(moves, timeout=0):
                if error is not None:
                    raise error
            self._settle(held)
        return [tag for tag in tags if tag in held], [tag for tag in tags if tag not in held]

    def settle(self, tags: Sequence[int]) -> None:
        """Conclude deliveries; void ones are passed over."""
        self._settle(tags)

    def release(self, tags: Sequence[int], *, died: bool = False) -> None:
        """Give unsettled deliveries back: they will be fetched again, by this member or another."""
        self._return(tags, redelivered=died, died=died)

    def keep_company(self, tags: Sequence[int]) -> None:
        """Do nothing: no process dies here."""

    def commit(self) -> bool:
        """Do nothing: what is settled is committed at once."""
        return True

    def pause(self) -> None:
        """Fetch nothing more."""
        self._listening()
        self._is_paused = True

    def resume(self) -> None:
        """Fetch again."""
        self._listening()
        self._is_paused = False

    def pass_over(self, partitions: Collection[int], reason: str) -> None:
        """Fetch nothing more from these partitions, and again from others that were passed over for this reason."""
        member = self._listening()
        with self._cluster.waking():
            member.pass_over(partitions, reason)

    def leave(self) -> None:
        """Leave the group; unclaimed deliveries are void."""
        member = self._listening()
        self._before_revoke(tuple(member.holds))
        with self._cluster.waking():
            member.group.leave(member)

    def rejoin(self) -> None:
        """Join the group again after `leave`."""
        member = self._listening()
        with self._cluster.waking():
            if not member.is_joined:
                self._is_paused = False
                member.group.join(member)

    def status(self) -> IntakeStatus:
        """Return the place in the group; of a channel that does not listen, none."""
        member = self._listener
        if member is None:
            return IntakeStatus()
        with self._cluster.locked():
            return IntakeStatus(
                partitions=tuple(sorted(member.holds)) if member.is_assigned else (),
                member=member.is_joined,
                assigned=member.is_assigned,
                lag=member.lag(),
                group=self._options.group_id,
            )

    def other_members(self) -> int:
        """Return how many other members of the group listen to this queue."""
        member = self._listening()
        with self._cluster.locked():
            return sum(other is not member for other in member.group.members)

    def close(self) -> None:
        """Leave the group. What is not settled comes again."""
        with self._cluster.waking():
            for member in self._members.values():
                member.group.leave(member)
        self._members.clear()
        self._delivered.clear()
        self._listener = None
        super().close()

    # -- shared by both -----------------------------------------------------------------------------------------------

    def _member(self, queue: str) -> Member:
        """Return this channel's member on a queue; it joins when it is first asked for."""
        if queue not in self._members:
            self._new_queue(queue)
            with self._cluster.waking() as log:
                topic = log.topics.get(self._options.topic_of(queue))
                if topic is None:
                    raise QueueMissing(queue)
                member = Member(topic.group(self._options.group_id), queue)
                member.group.join(member)
            self._members[queue] = member
        return self._members[queue]

    def _listening(self) -> Member:
        if self._listener is None:
            raise ChannelError("this channel does not listen to a queue; call listen() first")
        return self._listener

    def _by_member(self, tags: Iterable[int]) -> list[tuple[Member, list[Record]]]:
        """Take deliveries out, each with the member it came to; unknown tags are passed over."""
        records: dict[str, list[Record]] = {}
        for tag in tags:
            record = self._delivered.pop(tag, None)
            if record is not None:
                records.setdefault(record.queue, []).append(record)
        return [(self._members[queue], batch) for queue, batch in records.items()]

    def _settle(self, tags: Iterable[int]) -> list[Record]:
        with self._cluster.locked():
            settled = [member.settle(records) for member, records in self._by_member(tags)]
        return list(itertools.chain.from_iterable(settled))

    def _return(self, tags: Iterable[int], *, redelivered: bool, died: bool = False) -> None:
        with self._cluster.waking():
            for member, records in self._by_member(tags):
                member.give_back(records, redelivered=redelivered, died=died)
