"""The brokers of a round, and what is done to them: one is away at a time, the next when all replicas are in sync again."""

from __future__ import annotations

import random

from tests.scenarios.lab.faults import OF_CLUSTERS, Fault
from tests.support.cluster import KafkaCluster
from tests.support.kafka import Kafka
from tests.support.waiting import pause

OUTAGE_SECONDS = (0.0, 4.0)
"""How long a broker is away, besides the time it takes to start."""


class Brokers:
    """A cluster, perhaps of one. One thread at a time uses it."""

    def __init__(self, cluster: KafkaCluster, dice: random.Random) -> None:
        """Prepare.

        Args:
            cluster: Started, and nobody else's.
            dice: Chooses among the nodes.
        """
        self._cluster = cluster
        self._dice = dice

    def is_possible(self, fault: Fault) -> bool:
        """Return whether a fault of brokers can be done now."""
        if fault in OF_CLUSTERS and len(self._cluster.nodes) == 1:
            return False
        return self._cluster.is_whole()

    def do(self, fault: Fault) -> str:
        """Do a fault that is possible now; return what it was. Blocks until all nodes are up again."""
        if fault is Fault.MOVE_LEADERS:
            return f"{self._cluster.move_leaders(self._dice)} partitions"
        if fault is Fault.ROLL_BROKERS:
            for node in self._cluster.nodes:
                node.stop()
                self._bring_back(node)
                self._cluster.wait_whole()
            return f"{len(self._cluster.nodes)} brokers"
        node = self._dice.choice(self._cluster.nodes)
        (node.stop if fault is Fault.STOP_BROKER else node.kill)()
        away = self._dice.uniform(*OUTAGE_SECONDS)
        pause(away)
        self._bring_back(node)
        return f"broker {node.identity.node_id}, {away:.1f} s away"

    def _bring_back(self, node: Kafka) -> None:
        node.launch()
        node.wait_up(nodes=len(self._cluster.nodes))
