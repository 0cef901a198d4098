"""A real Kafka for the tests: one JVM, broker and controller in one, up in one or two seconds.

It can be stopped, killed, started again on the same ports with the same data, frozen and thawed. `cluster.py` has three of them.
Besides `bootstrap` each node has listeners whose advertised address is a proxy's: one, or as many as there are to be processes that
can be cut off each by itself. See `behind_proxy` and `behind_proxies`.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from tests.support.brokersettings import SETTINGS, Identity, node_settings
from tests.support.guard import guard
from tests.support.installation import Installation, installation, locked, made_in_one_step
from tests.support.proxy import Proxy
from tests.support.waiting import Deadline, wait_until

START_TIMEOUT = 60.0
"""Seconds. An idle machine needs 1.2, but after a SIGKILL 3, and a loaded CI machine ten times that."""

STOP_TIMEOUT = 30.0
"""Seconds until a broker that does not obey SIGTERM is killed (a node of a cluster that lost its quorum never obeys)."""

JVM_OPTIONS: Sequence[str] = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",  # the second compiler pays off after minutes and costs the start 0.8 s
    "-Xshare:auto",
    "-Dlog4j2.level=WARN",
)

QUIET = logging.getLogger("tests.librdkafka")
"""Takes librdkafka's own lines, which report each refused connection while a broker starts."""

QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class KafkaFailed(Exception):
    """A broker ended or did not come up; the text has the end of its log."""


class Kafka:
    """One node. Its methods block, and one thread at a time may call them."""

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        jvm_options: Sequence[str] = (),
        home: Installation | None = None,
        identity: Identity | None = None,
        quorum: Sequence[Identity] = (),
    ) -> None:
        """Prepare a node in a temporary folder; nothing runs yet.

        Args:
            settings: Broker settings under Kafka's names, over `SETTINGS`.
            jvm_options: More options for Java.
            home: The jars; by default the machine's (see `installation`).
            identity: Who it is in a cluster.
            quorum: All nodes of the cluster, this one too; by default this node alone.

        Raises:
            KafkaUnavailable: There are no jars and they cannot be had.
        """
        self._home = home or warm_installation()
        self.identity = identity or Identity()
        self._quorum = tuple(quorum) or (self.identity,)
        self.folder = Path(tempfile.mkdtemp(prefix="taskq-kafka-"))
        self.log = self.folder / "server.log"
        self._config = self.folder / "server.properties"
        self._jvm_options = tuple(jvm_options)
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(settings or {})
        self._give_identity()

    @property
    def bootstrap(self) -> str:
        """The address clients connect to, `HOST:PORT`; the same for the node's whole life."""
        return f"127.0.0.1:{self.identity.client.number}"

    @property
    def pid(self) -> int:
        """The JVM's process id."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the JVM lives, perhaps frozen."""
        return self._process is not None and self._process.poll() is None

    def configure(self, settings: Mapping[str, str]) -> None:
        """Replace what was given as `settings`; it counts from the next start."""
        everything = {**node_settings(self.identity, self._quorum), **SETTINGS, **settings}
        everything["log.dirs"] = str(self.folder / "data")
        self._config.write_text("".join(f"{name}={value}\n" for name, value in everything.items()))

    def start(self, *, timeout: float = START_TIMEOUT) -> None:
        """Start the node and wait until a client gets its metadata; with the data of its life before, if it had one.

        Raises:
            KafkaFailed: It ended, or was not up within `timeout` seconds.
        """
        self.launch()
        self.wait_up(timeout=timeout)

    def launch(self) -> None:
        """Start the node and return at once."""
        assert not self.is_running, "it runs already"
        archive = self._home.class_archive
        shared = [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []
        options = [*JVM_OPTIONS, *shared, *self._jvm_options]
        command = self._home.command("kafka.Kafka", str(self._config), options=options)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        guard().watch(self._process.pid)

    def wait_up(self, *, nodes: int = 1, timeout: float = START_TIMEOUT) -> None:
        """Wait until a client that asks this node is told of at least `nodes` live brokers.

        Raises:
            KafkaFailed: It ended, or `timeout` seconds have passed.
        """

        def look() -> bool:
            if not self.is_running:
                raise KafkaFailed(f"Kafka ended while it started; its log ends so:\n{self._tail()}")
            return known_brokers(self.bootstrap, timeout=1.0) >= nodes

        try:
            wait_until(look, timeout=timeout, what=f"Kafka at {self.bootstrap}")
        except TimeoutError as error:
            raise KafkaFailed(f"{error}; its log ends so:\n{self._tail()}") from error

    def stop(self, *, timeout: float = STOP_TIMEOUT) -> None:
        """End the node in order (SIGTERM); kill it if it has not ended after `timeout` seconds."""
        self.thaw()
        process = self._running()
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
        self._reap()

    def kill(self) -> None:
        """End the node at once (SIGKILL); it may be frozen. What it had told clients is in the page cache and survives."""
        self._running().kill()
        self._reap()

    def freeze(self) -> None:
        """Stop the node's clock (SIGSTOP): connections stay open and nobody answers."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen node go on (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the node if it runs, and remove its folder and log; it cannot be started again."""
        if self._process is not None:
            self._process.kill()
            self._reap()
        for port in self.identity.ports:
            port.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def behind_proxy(self) -> Iterator[Proxy]:
        """Give a proxy, for clients that use `proxy.bootstrap` instead of `bootstrap`; one at a time for each node."""
        with Proxy([proxy_route(self.identity)]) as proxy:
            yield proxy

    @contextlib.contextmanager
    def behind_proxies(self) -> Iterator[list[Proxy]]:
        """Give a proxy for each link of its `identity`; they remember nothing of what passes."""
        with proxies([self.identity]) as found:
            yield found

    def create_topic(
        self, name: str, *, partitions: int = 4, config: Mapping[str, str] | None = None
    ) -> None:
        """Make a topic, replicated as the cluster's default; returns when clients can use it."""
        create_topic(self.bootstrap, name, partitions=partitions, config=config)

    def __enter__(self) -> Kafka:
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

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise KafkaFailed(f"Kafka at {self.bootstrap} does not run")
        return self._process

    def _reap(self) -> None:
        process = self._running()
        process.wait()
        guard().release(process.pid)
        self._process = None

    def _give_identity(self) -> None:
        """Copy the formatted folder, and write in what Kafka's format tool would: it is the same for all but these lines."""
        data = self.folder / "data"
        shutil.copytree(self._home.formatted, data)
        (data / "meta.properties").write_text(
            f"version=1\ncluster.id={CLUSTER_ID}\n"
            f"node.id={self.identity.node_id}\ndirectory.id={_kafka_uuid()}\n"
        )

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return "(no log)"


CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
"""Every test cluster's id; they never meet."""


@functools.cache
def warm_installation() -> Installation:
    """Return the machine's Kafka with its archive of loaded classes, which is made once: 6 s, and each start is 0.9 s faster.

    Raises:
        KafkaUnavailable: There are no jars and they cannot be had.
    """
    home = installation()
    with locked(home.folder):
        if not home.class_archive.exists():
            with made_in_one_step(home.class_archive) as draft:
                recorder = Kafka(home=home, jvm_options=[f"-XX:ArchiveClassesAtExit={draft}"])
                with recorder:
                    recorder.create_topic("recorded")
                    recorder.stop()
                draft.touch()  # a Java that cannot record leaves an empty archive, which it ignores
    return home


def known_brokers(bootstrap: str, *, timeout: float) -> int:
    """Return how many live brokers a client is told of; 0 where none answers within `timeout` seconds."""
    with contextlib.suppress(KafkaException):
        return len(admin(bootstrap).list_topics(timeout=timeout).brokers)
    return 0


def create_topic(
    bootstrap: str,
    name: str,
    *,
    partitions: int,
    config: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> None:
    """Make a topic and wait until each partition has a leader that all brokers asked know."""
    client = admin(bootstrap)
    deadline = Deadline(timeout)
    topic = NewTopic(name, num_partitions=partitions, config=dict(config or {}))
    client.create_topics([topic])[name].result(timeout)

    def has_leaders() -> bool:
        found = client.list_topics(name, timeout=timeout).topics[name].partitions.values()
        return len(found) == partitions and all(partition.leader >= 0 for partition in found)

    wait_until(has_leaders, timeout=deadline.remaining, what=f"leaders of {name}")


def set_topic(bootstrap: str, topic: str, **config: str) -> None:
    """Change a topic's settings: dots are underscores in their names here. Returns when the broker has taken them."""
    resource = ConfigResource(
        ResourceType.TOPIC,
        topic,
        incremental_configs=[
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in config.items()
        ],
    )
    client = admin(bootstrap)  # kept until it has answered
    (answer,) = client.incremental_alter_configs([resource]).values()
    answer.result(30.0)


def admin(bootstrap: str) -> AdminClient:
    """Return a quiet client for a test's own questions. Keep it referenced while an answer is awaited."""
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 100,
        "logger": QUIET,
    }
    return AdminClient(settings)


def proxy_route(identity: Identity, link: int = 0) -> tuple[int, int]:
    """Return where a node's proxy listens and which port it passes on to."""
    found = identity.links[link]
    return found.proxy.number, found.proxied.number


@contextlib.contextmanager
def proxies(identities: Sequence[Identity]) -> Iterator[list[Proxy]]:
    """Give a proxy for each link of a cluster's nodes: one way to all of them."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                Proxy([proxy_route(identity, link) for identity in identities], remembers=False)
            )
            for link in range(len(identities[0].links))
        ]


def _kafka_uuid() -> str:
    """Return a random id as Kafka writes them: it takes none that begins with a dash, its command line would not."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith(
        "-"
    ):
        pass
    return text


def is_required() -> bool:
    """Whether a machine without Kafka must fail the tests (`CI=true`) instead of skipping them."""
    return os.environ.get("CI", "").lower() in {"1", "true"}
