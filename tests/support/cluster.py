"""Three Kafka nodes as one cluster: what needs replicas, a leader that moves, a coordinator that dies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import TracebackType

from tests.support.brokersettings import Identity
from tests.support.kafka import START_TIMEOUT, Kafka, create_topic, proxy_route
from tests.support.proxy import Proxy


class KafkaCluster:
    """Nodes that are broker and controller each; topics have a replica on all, and two of three must be in sync.

    The quorum needs two live nodes. `nodes` are started, stopped, killed and frozen one by one with their own methods.
    """

    def __init__(self, *, size: int = 3, settings: Mapping[str, str] | None = None) -> None:
        """Prepare `size` nodes; see `Kafka` for the settings and what it raises."""
        identities = [Identity(number) for number in range(1, size + 1)]
        self.nodes = [
            Kafka(settings=settings, identity=identity, quorum=identities)
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

    @contextlib.contextmanager
    def behind_proxy(self) -> Iterator[Proxy]:
        """Give one proxy in front of all nodes."""
        with Proxy([proxy_route(node.identity) for node in self.nodes]) as proxy:
            yield proxy

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
