"""`memory://`: a broker in this process, for users' tests.

A second implementation of the Protocols of taskq/protocols.py, with Kafka's semantics: partitions, consumer groups, claims, dead
letters; and a clock that can be moved. It shares no code with taskq_kafka but the codec of record headers. All connections of a
process to the same `memory://NAME` meet in one cluster; another process, also a forked one, has its own, and nothing is kept.
"""

from taskq.memory.clock import MovableClock
from taskq.memory.cluster import Cluster, cluster_named, forget_cluster
from taskq.memory.transport import Transport

__all__ = ["Cluster", "MovableClock", "Transport", "cluster_named", "forget_cluster"]
