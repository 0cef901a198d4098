"""The page about a Kafka without Docker is right: its file and commands start one, with the settings of compose.yaml.

Kafka's scripts are replaced by the classes that they run, and the ports by free ones.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import yaml

from tests.support.installation import Installation
from tests.support.ports import reserve_port
from tests.support.processes import ROOT, Processes

PAGE = (ROOT / "docs" / "how-to" / "try-kafka.md").read_text(encoding="utf-8")
CLASSES = {
    "bin/kafka-storage.sh": "kafka.tools.StorageTool",
    "bin/kafka-server-start.sh": "kafka.Kafka",
}
OF_A_NODE = re.compile(r"listener|controller\.quorum|process\.roles|node\.id|log\.dirs")
"""Settings of the broker that say where it is: elsewhere in a container."""


def properties() -> dict[str, str]:
    """Return the page's settings of the broker."""
    [text] = re.findall(r"^```properties\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_its_settings_are_those_of_compose() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    variables = compose["services"]["kafka"]["environment"]
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in variables.items()
        if name.startswith("KAFKA_")
    }

    def shared(given: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in given.items() if not OF_A_NODE.search(name)}

    assert shared(properties()) == shared(settings)


def test_its_commands_start_a_kafka(
    kafka_home: Installation, processes: Processes, tmp_path: Path
) -> None:
    ports = reserve_port(), reserve_port()
    text = "".join(f"{name}={value}\n" for name, value in properties().items())
    for page, free in zip(("9092", "9093"), ports, strict=True):
        text = text.replace(f"localhost:{page}", f"localhost:{free.number}")
    (tmp_path / "taskq.properties").write_text(text)

    def command(line: str) -> list[str]:
        script, *arguments = shlex.split(line)
        return kafka_home.command(CLASSES[script], *arguments)

    def output(line: str) -> str:
        done = subprocess.run(
            command(line), cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    formatting, starting = re.findall(r"^\$ (bin/.*)$", PAGE, re.MULTILINE)
    identify = re.search(r"\$\((.*?)\)", formatting)
    assert identify is not None
    output(formatting.replace(identify[0], output(identify[1])))
    broker = processes.start(command(starting), cwd=tmp_path)
    env = {"TASKQ_BROKER": f"localhost:{ports[0].number}", "TASKQ_CONNECT_TIMEOUT": "60"}
    doctor = processes.taskq("doctor", env=env)

    assert doctor.wait(timeout=90) == 0, doctor.text + broker.text
    broker.stop()
    for port in ports:
        port.release()
