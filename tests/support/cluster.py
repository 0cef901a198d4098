"""Several Kafka nodes as one cluster: what needs replicas, a leader that moves, a coordinator that dies."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import PartitionMetadata

from tests.support.brokersettings import Identity
from tests.support.kafka import (
    START_TIMEOUT,
    Kafka,
    admin,
    create_topic,
    proxies,
    proxy_route,
)
from tests.support.proxy import Proxy
from tests.support.reassignment import reassign
from tests.support.waiting import wait_until

WHOLE_TIMEOUT = 60.0
"""Seconds until a node that has come back has caught up with its leaders: a second or two for what tests write."""

HEAP: Sequence[str] = ("-Xmx256m",)
"""Of each node, where several share a machine: a third of it is in use."""


class KafkaCluster:
    """Nodes that are broker and controller each; topics have a replica on all, and all but one must be in sync.

    The quorum needs more than half of the nodes. `nodes` are started, stopped, killed and frozen one by one with their own methods.
    A cluster of one is a `Kafka` that can be treated like the others.
    """

    def __init__(
        self, *, size: int = 3, settings: Mapping[str, str] | None = None, links: int = 1
    ) -> None:
        """Prepare `size` nodes; see `Kafka` for the settings and what it raises.

        Args:
            size: How many.
            settings: Of each broker.
            links: Ways to all of them, each through a proxy of its own (`behind_proxies`).
        """
        identities = [Identity(number, links=links) for number in range(1, size + 1)]
        jvm_options = HEAP if size > 1 else ()
        self.nodes = [
            Kafka(settings=settings, jvm_options=jvm_options, identity=identity, quorum=identities)
            for identity in identities
        ]

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes, running or not, comma-separated."""
        return ",".join(node.bootstrap for node in self.nodes)

    def start(self, *, timeout: float = START_TIMEOUT) -> None:
        """Start all nodes side by side; blocks until each knows all.

        Raises:
            KafkaFailed: One of them ended or was not up in time.
        """
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_up(nodes=len(self.nodes), timeout=timeout)

    def node(self, node_id: int) -> Kafka:
        """Return a node by its id, as metadata name leaders and coordinators."""
        return next(node for node in self.nodes if node.identity.node_id == node_id)

    def create_topic(
        self, name: str, *, partitions: int = 4, config: Mapping[str, str] | None = None
    ) -> None:
        """Make a topic with a replica on each node; returns when its partitions have leaders."""
        create_topic(self.bootstrap, name, partitions=partitions, config=config)

    def is_whole(self) -> bool:
        """Return whether all nodes are up, and each partition has a leader and all of its replicas in sync: one more may go."""
        try:
            found = admin(self.bootstrap).list_topics(timeout=5)
        except KafkaException:
            return False
        partitions = [each for topic in found.topics.values() for each in topic.partitions.values()]
        return len(found.brokers) == len(self.nodes) and all(
            each.leader >= 0 and set(each.isrs) == set(each.replicas) for each in partitions
        )

    def wait_whole(self, *, timeout: float = WHOLE_TIMEOUT) -> None:
        """Block until it is whole."""
        wait_until(self.is_whole, timeout=timeout, what="all replicas in sync")

    def move_leaders(self, dice: random.Random) -> int:
        """Give about half of all partitions another leader, those of Kafka's own topics too; return how many.

        No node stops, and nothing is copied: coordinators of groups and transactions move with their partitions' leaders.
        In a cluster of one there is nowhere to go.
        """
        before = self._partitions()
        moving = {
            place: _led_by_another(partition, dice)
            for place, partition in before.items()
            if len(partition.replicas) > 1 and dice.random() < 0.5
        }
        if not moving:
            return 0
        reassign(self.nodes[0].bootstrap, moving)
        places = [TopicPartition(*place) for place in moving]
        client = admin(self.bootstrap)

        def has_moved() -> bool:
            # Who is not in sync yet is not elected; what was elected is not known to all brokers at once.
            client.elect_leaders(ElectionType.PREFERRED, places).result(WHOLE_TIMEOUT)
            after = self._partitions()
            return all(after[place].leader == nodes[0] for place, nodes in moving.items())

        wait_until(has_moved, timeout=WHOLE_TIMEOUT, what="the new leaders")
        return len(moving)

    def _partitions(self) -> dict[tuple[str, int], PartitionMetadata]:
        topics = admin(self.bootstrap).list_topics(timeout=10).topics
        return {
            (name, number): partition
            for name, topic in topics.items()
            for number, partition in topic.partitions.items()
        }

    @contextlib.contextmanager
    def behind_proxy(self) -> Iterator[Proxy]:
        """Give one proxy in front of all nodes."""
        with Proxy([proxy_route(node.identity) for node in self.nodes]) as proxy:
            yield proxy

    @contextlib.contextmanager
    def behind_proxies(self) -> Iterator[list[Proxy]]:
        """Give for each link a proxy in front of all nodes; they remember nothing of what passes."""
        with proxies([node.identity for node in self.nodes]) as found:
            yield found

    def close(self) -> None:
        """Kill all nodes and remove their data."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> KafkaCluster:
        """Start it."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _led_by_another(partition: PartitionMetadata, dice: random.Random) -> list[int]:
    """Return the partition's replicas with one at their head that does not lead now."""
    leader = dice.choice([node for node in partition.replicas if node != partition.leader])
    return [leader, *(node for node in partition.replicas if node != leader)]
