"""Fixtures for all tests: brokers, names, processes. What they give is in `tests/support/`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.brokersettings import LINKS, Identity
from tests.support.cluster import KafkaCluster
from tests.support.installation import Installation, KafkaUnavailable
from tests.support.kafka import Kafka, is_required, warm_installation
from tests.support.ledger import Ledger
from tests.support.mock_cluster import MockCluster
from tests.support.names import fresh_name
from tests.support.processes import Processes
from tests.support.proxy import Proxy
from tests.support.scene import Scene
from tests.support.secure import SecureKafka

TIERS = ("unit", "contract", "integration", "scenarios", "examples", "typing")

# Hypothesis fails a test of which one example takes 0.2 s, or whose first ten take a second to make: on a busy machine any does.
hypothesis.settings.register_profile(
    "taskq", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("taskq")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, which is the name of its folder under `tests/`."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            tier = item.path.relative_to(here).parts[0]
            if tier in TIERS:
                item.add_marker(tier)


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """Give the packages' loggers their levels back: a command that a test runs in this process sets them for its own end."""
    loggers = [logging.getLogger(name) for name in ("taskq", "taskq_kafka")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def clients_of_before() -> Iterator[None]:
    """Let go of the clients that a test has made: a process keeps them, one set a configuration, and each test has its own.

    Hundreds of sets are thousands of threads.
    """
    shared = sys.modules.get("taskq_kafka.shared")
    before = set(shared._objects) if shared is not None else set()
    yield
    shared = sys.modules.get("taskq_kafka.shared")
    if shared is not None:
        for key in set(shared._objects) - before:
            shared._objects.pop(key, None)


@pytest.fixture(scope="session")
def kafka_home() -> Installation:
    """Kafka's jars; where they cannot be had, tests that need them are skipped, or fail in CI (`CI=true`)."""
    try:
        return warm_installation()
    except KafkaUnavailable as error:
        if is_required():
            pytest.fail(f"the tests need a real Kafka here: {error}")
        pytest.skip(f"no real Kafka: {error}")


@pytest.fixture(scope="session")
def kafka(kafka_home: Installation) -> Iterator[Kafka]:
    """One broker for all tests that do not hurt it."""
    # It is never killed: a short session would only unseat it where the machine stands still for a moment.
    settings = {"broker.session.timeout.ms": "30000"}
    with Kafka(home=kafka_home, settings=settings) as kafka:
        yield kafka


@pytest.fixture
def own_kafka(kafka_home: Installation) -> Iterator[Kafka]:
    """A broker for this test alone, to be killed, frozen and started again."""
    with Kafka(home=kafka_home) as kafka:
        yield kafka


@pytest.fixture
def linked_kafka(kafka_home: Installation) -> Iterator[Kafka]:
    """A broker for this test alone, with links of which each can be closed while the others stay open."""
    with Kafka(home=kafka_home, identity=Identity(links=LINKS)) as kafka:
        yield kafka


@pytest.fixture
def cluster(kafka_home: Installation) -> Iterator[KafkaCluster]:
    """Three brokers for this test alone."""
    with KafkaCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster_of_one(kafka_home: Installation) -> Iterator[KafkaCluster]:
    """A broker for this test alone, for what treats clusters of any size alike."""
    with KafkaCluster(size=1, links=LINKS) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def secure_kafka(kafka_home: Installation) -> Iterator[SecureKafka]:
    """A broker that asks for a name and a password, in the clear and over TLS."""
    with SecureKafka(kafka_home) as secure:
        yield secure


@pytest.fixture
def proxied_kafka(kafka: Kafka) -> Iterator[Proxy]:
    """A proxy in front of the shared broker: clients behind it use `proxied_kafka.bootstrap`."""
    with kafka.behind_proxy() as proxy:
        yield proxy


@pytest.fixture(scope="session")
def mock_cluster() -> Iterator[MockCluster]:
    """A mock cluster of librdkafka, without Java."""
    with MockCluster() as mock:
        yield mock


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """A queue's name that nobody has used; nothing is made on the broker."""
    return fresh_name(request.node.name)


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic's name that nobody has used; nothing is made on the broker."""
    return fresh_name(request.node.name)


@pytest.fixture
def group(request: pytest.FixtureRequest) -> str:
    """A consumer group's name that nobody has used."""
    return fresh_name(request.node.name)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes and kills at the end what the test left running."""
    with Processes(tmp_path) as processes:
        yield processes


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A file in which tasks write down that they ran."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def scene(
    kafka: Kafka, processes: Processes, ledger: Ledger, queue: str, group: str
) -> Iterator[Scene]:
    """A queue and a group of this test's own on the shared broker, workers on it and what they did."""
    with Scene(kafka, processes, ledger, queue=queue, group=group) as scene:
        yield scene
