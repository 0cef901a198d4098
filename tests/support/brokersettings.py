"""The settings of the tests' brokers, and which ports a node keeps. Nothing here runs a broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.support.ports import Port, reserve_port

SETTINGS: Mapping[str, str] = {
    "auto.create.topics.enable": "false",
    "num.partitions": "4",
    # Internal topics are made when they are first used: few partitions are made quickly.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    # Short sessions: a test that kills a member waits for its session to end.
    "group.initial.rebalance.delay.ms": "0",
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    # A killed broker may register again only after its old session has ended (9 s by default).
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    # Two cores and a small heap are enough for tests.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "1",
    "log.cleaner.dedupe.buffer.size": "16777216",
}

LINKS = 8
"""Of a broker whose clients are cut off one by one: five at work, and some that are on their way out."""


@dataclass(frozen=True)
class Link:
    """A way to a node that can be closed while others stay open: a listener that advertises a proxy's address, not its own."""

    proxied: Port
    """Where the node listens."""

    proxy: Port
    """Where the proxy does, and what the node tells clients."""


class Identity:
    """Who a node is in its cluster, and which ports it keeps for its whole life."""

    def __init__(self, node_id: int = 1, *, links: int = 1) -> None:
        """Reserve two ports, and two more for each link."""
        self.node_id = node_id
        self.client, self.controller = reserve_port(), reserve_port()
        self.links = tuple(Link(reserve_port(), reserve_port()) for _ in range(links))

    @property
    def ports(self) -> tuple[Port, ...]:
        """All ports, for releasing them."""
        of_links = [port for link in self.links for port in (link.proxied, link.proxy)]
        return self.client, self.controller, *of_links


def node_settings(identity: Identity, quorum: Sequence[Identity]) -> dict[str, str]:
    """Return the settings that follow from who a node is and who its cluster is."""
    size = str(len(quorum))
    in_sync = str(max(1, len(quorum) - 1))
    return {
        "process.roles": "broker,controller",
        "node.id": str(identity.node_id),
        "controller.quorum.voters": ",".join(
            f"{node.node_id}@127.0.0.1:{node.controller.number}" for node in quorum
        ),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        **listener_settings(identity, {}),
        "default.replication.factor": size,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": size,
        "transaction.state.log.replication.factor": size,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": size,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


def listener_settings(identity: Identity, more: Mapping[str, tuple[str, Port]]) -> dict[str, str]:
    """Return the settings for a node's own listeners and, by name, for more: their protocols and ports."""
    links = {f"PROXIED{number}": link for number, link in enumerate(identity.links)}
    ports = {
        "PLAINTEXT": identity.client,
        **{name: link.proxied for name, link in links.items()},
        "CONTROLLER": identity.controller,
    }
    protocols = dict.fromkeys(ports, "PLAINTEXT") | {name: kind for name, (kind, _) in more.items()}
    ports |= {name: port for name, (_, port) in more.items()}
    advertised = ports | {name: link.proxy for name, link in links.items()}
    del advertised["CONTROLLER"]
    return {
        "listeners": _addresses(ports),
        "advertised.listeners": _addresses(advertised),
        "listener.security.protocol.map": ",".join(f"{n}:{kind}" for n, kind in protocols.items()),
    }


def _addresses(listeners: Mapping[str, Port]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port.number}" for name, port in listeners.items())
