"""Kafka's jars and what makes them start fast, kept once a machine.

Maven fetches the jars that `pom.xml` names into `$XDG_CACHE_HOME/taskq-kafka-tests/VERSION-HASH/`. Beside them lie a formatted,
empty metadata folder (formatting takes a JVM start, about a second, and its result is always the same) and, made by `kafka.py`, an
archive of loaded classes that halves the start. Two processes do not race: one holds a lock, and folders appear by rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

POM = Path(__file__).with_name("pom.xml")
OLDEST_JAVA = 17
"""Kafka 4's brokers need it."""

MAVEN_TIMEOUT = 600.0
"""Seconds. 45 MB over a slow line."""


class KafkaUnavailable(Exception):
    """A real Kafka cannot be run on this machine; the text says what is missing."""


@dataclass(frozen=True)
class Installation:
    """A folder with Kafka's jars and the Java that runs them."""

    java: str
    folder: Path
    java_id: str
    """Differs for any two Java builds: an archive of classes fits exactly one."""

    @property
    def libs(self) -> Path:
        """The folder of the jars."""
        return self.folder / "libs"

    @property
    def formatted(self) -> Path:
        """A formatted metadata folder without identity; see `Kafka` for how a node gets its own."""
        return self.folder / "formatted"

    @property
    def class_archive(self) -> Path:
        """Where the archive of loaded classes for this Java is, or would be."""
        return self.folder / f"classes-{self.java_id}.jsa"

    def command(self, main_class: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """Return the command line that runs a class of Kafka's."""
        jars = os.pathsep.join(sorted(map(str, self.libs.glob("*.jar"))))
        return [self.java, "-XX:+UseSerialGC", *options, "-cp", jars, main_class, *arguments]


@functools.cache
def installation() -> Installation:
    """Return the machine's Kafka, fetching it the first time (with a full Maven cache seconds, else a minute).

    Raises:
        KafkaUnavailable: No Java, no Maven, or Maven could not fetch the jars.
    """
    java = find_java()
    found = Installation(java, cache_folder(), _java_id(java))
    found.folder.mkdir(parents=True, exist_ok=True)
    with locked(found.folder):
        if not found.libs.is_dir():
            _fetch_jars(found)
        if not found.formatted.is_dir():
            _format(found)
    return found


def cache_folder() -> Path:
    """Return the folder for exactly the jars that `pom.xml` names."""
    text = POM.read_bytes()
    version = ElementTree.fromstring(text).findtext(".//{*}kafka.version")
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    name = f"{version}-{hashlib.sha256(text).hexdigest()[:8]}"
    return Path(home) / "taskq-kafka-tests" / name


def find_java() -> str:
    """Return the path of a Java that Kafka runs on.

    Raises:
        KafkaUnavailable: There is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else None
    java = java or shutil.which("java")
    if java is None:
        raise KafkaUnavailable("no Java found (install a JRE of 17 or later, or set JAVA_HOME)")
    found = re.search(r'version "(\d+)', _java_version(java))
    if found is None or int(found[1]) < OLDEST_JAVA:
        text = _java_version(java).splitlines() or ["no answer"]
        raise KafkaUnavailable(f"{java} is too old for Kafka 4, which needs 17: {text[0]}")
    return java


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; blocks while another process holds it."""
    with (folder / "lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def made_in_one_step(target: Path) -> Iterator[Path]:
    """Give a path to write a file or folder to, which becomes `target` when all went well."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        draft = Path(folder) / target.name
        yield draft
        draft.rename(target)


def _java_version(java: str) -> str:
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    return answer.stderr + answer.stdout


def _java_id(java: str) -> str:
    text = os.path.realpath(java) + _java_version(java)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _fetch_jars(target: Installation) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable("no Maven found (install `maven`): it fetches Kafka's jars, once")
    with made_in_one_step(target.libs) as draft:
        # Maven writes beside the pom it reads; a checkout may be read-only.
        pom = Path(shutil.copy(POM, draft.parent))
        goal = [
            "dependency:copy-dependencies",
            f"-DoutputDirectory={draft}",
            "-DincludeScope=runtime",
        ]
        _run([maven, "-q", "-B", "-f", str(pom), *goal], "Maven could not fetch Kafka's jars")


def _format(target: Installation) -> None:
    with made_in_one_step(target.formatted) as draft:
        config = draft.parent / "server.properties"
        # The static quorum keeps addresses out of the folder, so that it serves nodes on any port.
        config.write_text(
            "process.roles=broker,controller\nnode.id=1\n"
            "controller.quorum.voters=1@127.0.0.1:1\ncontroller.listener.names=CONTROLLER\n"
            f"listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1\nlog.dirs={draft}\n"
        )
        tool = ["format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", str(config)]
        _run(target.command("kafka.tools.StorageTool", *tool), "Kafka could not format a folder")
        (draft / "meta.properties").unlink()


def _run(command: Sequence[str], failure: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=MAVEN_TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise KafkaUnavailable(f"{failure} within {MAVEN_TIMEOUT:g} s") from error
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise KafkaUnavailable(f"{failure}: {output or f'exit code {done.returncode}'}")
