"""`compose.yaml` and `Dockerfile` without Docker: what they name exists, their commands run on a Kafka with their settings."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import ConfigResource, ResourceType

from taskq.settings import SETTINGS, Settings
from tests.support.installation import Installation
from tests.support.kafka import Kafka, admin
from tests.support.processes import ROOT, Processes

COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: Mapping[str, Any] = COMPOSE["services"]
DOCKERFILE = [
    line.split(maxsplit=1)
    for line in (ROOT / "Dockerfile").read_text().splitlines()
    if line and not line.startswith("#")
]
OF_A_NODE = re.compile(r"listener|controller\.quorum|process\.roles|node\.id|log\.dirs")
"""Settings of the broker that say where it is; the test's broker is elsewhere."""


def last(instruction: str) -> str:
    """Return the words of the last instruction of a kind: the ones that hold."""
    return [words for name, words in DOCKERFILE if name == instruction][-1]


def copied() -> list[str]:
    """Return what the Dockerfile copies from the repository."""
    copies = [words.split() for name, words in DOCKERFILE if name == "COPY"]
    return [source for words in copies if "--from=" not in words[0] for source in words[:-1]]


def broker_settings() -> dict[str, str]:
    """Return the broker's settings under their own names, as the image makes them of its variables."""
    variables = SERVICES["kafka"]["environment"]
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in variables.items()
        if name.startswith("KAFKA_")
    }


def seconds(text: str) -> float:
    """Return a duration of compose."""
    return float(text.removesuffix("s"))


def test_there_are_one_broker_one_worker_and_two_beats() -> None:
    replicas = {name: each.get("deploy", {}).get("replicas", 1) for name, each in SERVICES.items()}

    assert replicas == {"kafka": 1, "worker": 1, "beat": 2}


def test_images_are_pinned() -> None:
    assert SERVICES["kafka"]["image"] == "apache/kafka:4.3.1"
    for words in (words for name, words in DOCKERFILE if name == "FROM"):
        assert re.match(r"python:3\.\d+-slim\b", words)


def test_taskq_waits_for_a_broker_that_is_healthy() -> None:
    check = SERVICES["kafka"]["healthcheck"]
    port = check["test"][-1].rpartition(":")[2]

    assert check["test"][0] == "CMD"
    assert f"OUTSIDE://:{port}" in broker_settings()["listeners"]
    for name in ("worker", "beat"):
        assert SERVICES[name]["depends_on"] == {"kafka": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", ["worker", "beat"])
def test_variables_are_settings(name: str) -> None:
    variables = SERVICES[name]["environment"]

    assert {variable.removeprefix("TASKQ_").lower() for variable in variables} <= set(SETTINGS)
    assert f"INSIDE://{variables['TASKQ_BROKER']}" in broker_settings()["advertised.listeners"]


def test_a_worker_has_the_time_that_it_promises_itself() -> None:
    assert seconds(SERVICES["worker"]["stop_grace_period"]) > Settings().grace


def test_the_build_finds_what_it_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    for service in ("worker", "beat"):
        assert SERVICES[service]["build"] == "."
    for source in copied():
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored
    assert "*" in ignored


def test_what_is_installed_has_the_files_that_it_names() -> None:
    metadata = (ROOT / "setup.cfg").read_text()
    named = re.findall(r"^(?:long_description|license_files) = (?:file: )?(.+)$", metadata, re.M)

    assert named
    assert set(named) <= set(copied())


def test_what_is_installed_has_all_its_packages() -> None:
    metadata = ConfigParser()
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    included = metadata["options.packages.find"]["include"].split()
    packages = {pattern.partition(".")[0] for pattern in included}

    assert "taskq" in packages
    assert packages <= set(copied())


def test_processes_get_the_signals_and_are_not_root() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["taskq"]
    assert json.loads(last("CMD")) == ["worker"]
    assert last("USER") not in ("root", "0")
    assert [name for name, _ in DOCKERFILE].index("USER") > [name for name, _ in DOCKERFILE].index(
        "RUN"
    )


@pytest.fixture(scope="module")
def compose_kafka(kafka_home: Installation) -> Iterator[Kafka]:
    """A broker with the settings of compose.yaml, at an address of its own."""
    settings = {k: v for k, v in broker_settings().items() if not OF_A_NODE.search(k)}
    with Kafka(home=kafka_home, settings=settings) as kafka:
        yield kafka


def test_the_broker_knows_its_settings(compose_kafka: Kafka) -> None:
    resource = ConfigResource(ResourceType.BROKER, "1")
    client = admin(compose_kafka.bootstrap)
    (answer,) = client.describe_configs([resource]).values()
    known = {name: entry.value for name, entry in answer.result(timeout=30).items()}

    for name, value in broker_settings().items():
        assert name in known
        assert OF_A_NODE.search(name) or known[name] == value


def test_its_commands_run_the_example(
    compose_kafka: Kafka, processes: Processes, tmp_path: Path
) -> None:
    folder = tmp_path / "app"
    shutil.copytree(ROOT / copied()[-1], folder)
    env = {"TASKQ_BROKER": compose_kafka.bootstrap}

    running = [
        processes.taskq(*SERVICES[name]["command"], cwd=folder, env=env)
        for name in ("worker", "beat")
    ]

    worker, beat = running
    beat.wait_for_line("beat is ready", timeout=60)
    worker.wait_for_line("protocol consumer .session 6 s", timeout=60)
    worker.wait_for_line("processing invoice", timeout=60)
    assert [process.stop(timeout=60) for process in reversed(running)] == [0, 0]
