"""Hosts of shards die, freeze, lose the broker, come and go while timers pour in; then each timer stands in its queue exactly once.

Every tenth comes with one for tomorrow that is cancelled at once: of these none is left in the log, and none in the queue.

The long form: `python -m tests.scenarios.shardlab --seconds 600 [--timers 20000] [--seed N] [--protocol classic]`. Exit code 1: one
was fired twice, never, or early, or something is left in the log.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from taskq.clock import SystemClock
from taskq.protocols import Outgoing
from taskq.timing.shards import Write
from taskq.timing.timers import GROUP, LOG, cancel_write, timer_write
from taskq_kafka.logrecords import LogRecord
from taskq_kafka.logs import Logs
from taskq_kafka.options import TransportOptions
from taskq_kafka.questions import Questions
from taskq_kafka.reader import Reader
from taskq_kafka.shared import shared
from tests.scenarios.lab.links import Links
from tests.support.brokersettings import LINKS, Identity
from tests.support.kafka import Kafka
from tests.support.processes import Process, Processes
from tests.support.toyshard import now_ms
from tests.support.waiting import Deadline, pause, wait_until

QUEUE = "lab-queue"

HOSTS = 3
MOST_HOSTS = 5
MOST_CUT_OFF = 3
"""At a time: the others need a link each."""

COUNTDOWN_SECONDS = (0.1, 60.0)
DAY_MS = 86_400_000
FREEZE_SECONDS = (1.0, 12.0)
"""Of a host, or of its connections: shorter and longer than a session, which is six seconds."""

PATIENCE = 60.0


@dataclass
class Report:
    """What happened, and what was wrong with it."""

    timers: int
    faults: Counter[str] = field(default_factory=Counter)
    fired: int = 0
    late_ms: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> str:
        """Return it for people."""
        late = sorted(self.late_ms) or [0]
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        return (
            f"{self.timers} timers, {self.fired} fired; {faults}; "
            f"late by {late[len(late) // 2]} ms (half of them), {late[len(late) * 99 // 100]} ms (1 in 100), {late[-1]} ms (most)"
            + "".join(f"\nwrong: {problem}" for problem in self.problems)
        )


class Lab:
    """The hosts, and what is done to them."""

    def __init__(
        self, processes: Processes, links: Links, protocol: str, chance: random.Random
    ) -> None:
        self._processes = processes
        self._links = links
        self._what = (LOG, GROUP, "timers", f"group_protocol={protocol}")
        self._chance = chance
        self._up: list[Process] = []
        self._frozen: list[tuple[Deadline, Process]] = []
        self._cut_off: list[Process] = []

    def start(self) -> None:
        """Let one more host join."""
        link = self._links.choose()
        host = self._processes.python("-m", "tests.support.toyshard", link.bootstrap, *self._what)
        self._links.enter(host, link)
        self._up.append(host)

    def hurt_one(self) -> str:
        """Do something to a host; return what."""
        host = self._chance.choice(self._up)
        kinds = ["kill", "freeze", "cut off", "stop", "join"]
        if len(self._up) + len(self._frozen) + len(self._cut_off) >= MOST_HOSTS:
            kinds.remove("join")
        if len(self._cut_off) >= MOST_CUT_OFF:
            kinds.remove("cut off")
        kind = self._chance.choice(kinds)
        if kind == "join":
            self.start()
            return kind
        self._up.remove(host)
        if kind == "kill":
            host.kill()
        elif kind == "stop":
            host.signal(15)
        elif kind == "cut off":
            self._links.cut(host, self._chance.uniform(*FREEZE_SECONDS))
            self._cut_off.append(host)
        else:
            host.freeze()
            self._frozen.append((Deadline(self._chance.uniform(*FREEZE_SECONDS)), host))
        while len(self._up) < HOSTS - 1:
            self.start()
        return kind

    def thaw(self, *, everyone: bool = False) -> None:
        """Let those go on whose time has come."""
        for deadline, host in list(self._frozen):
            if deadline.is_over or everyone:
                host.thaw()
                self._frozen.remove((deadline, host))
                self._up.append(host)
        self._links.mend(at_once=everyone)
        for host in [each for each in self._cut_off if each not in self._links.cut_off]:
            self._cut_off.remove(host)
            self._up.append(host)


@dataclass(frozen=True)
class Pour:
    """What is set."""

    countdown: tuple[float, float]
    """Seconds: the shortest and the longest."""

    chance: random.Random

    def timers(self, numbers: Iterable[int]) -> Iterator[Write]:
        """Return the writes of some timers, and for every tenth of them one that is cancelled at once."""
        for number in numbers:
            wait_ms = round(self.chance.uniform(*self.countdown) * 1000)
            yield _timer(f"t{number}", now_ms() + wait_ms)
            if number % 10 == 0:
                yield _timer(f"c{number}", now_ms() + DAY_MS)
                yield cancel_write(f"c{number}", SystemClock().now())


def run(
    kafka: Kafka,
    folder: Path,
    say: Callable[[str], None],
    *,
    seconds: float,
    timers: int,
    seed: int,
    protocol: str = "auto",
    countdown: tuple[float, float] = COUNTDOWN_SECONDS,
) -> Report:
    """Set `timers` timers over so many seconds, each with a countdown between two lengths, with a fault every second or two."""
    chance = random.Random(seed)
    say(f"seed {seed}: {timers} timers in {seconds:g} s")
    options = TransportOptions(bootstrap=kafka.bootstrap)
    report = Report(timers)
    with kafka.behind_proxies() as proxies, Processes(folder) as processes:
        lab = Lab(processes, Links(proxies, chance), protocol, chance)
        for _ in range(HOSTS):
            lab.start()
        pour = Pour(countdown, chance)
        _pour(lab, shared(Logs, options), report, pour, seconds, say)
        lab.thaw(everyone=True)
        records = _wait_for_all(options, timers, timeout=countdown[1] + PATIENCE)
        standing = _standing(shared(Logs, options))
    _judge(report, records, standing)
    return report


def _pour(
    lab: Lab,
    logs: Logs,
    report: Report,
    pour: Pour,
    seconds: float,
    say: Callable[[str], None],
) -> None:
    end, fault, sent = Deadline(seconds), Deadline(5), 0
    while not end.is_over:
        due = min(report.timers, int(report.timers * (1 - end.remaining / seconds)) + 1)
        writes = list(pour.timers(range(sent, due)))
        failed = [error for error in logs.append(writes, timeout=PATIENCE) if error]
        report.problems += [f"not accepted: {error}" for error in failed]
        sent = due
        lab.thaw()
        if fault.is_over:
            kind = lab.hurt_one()
            report.faults[kind] += 1
            say(kind)
            fault = Deadline(pour.chance.uniform(0.5, 3))
        pause(0.1)
    rest = list(pour.timers(range(sent, report.timers)))
    logs.append(rest, timeout=PATIENCE)


def _timer(id: str, due_ms: int) -> Write:
    message = Outgoing(QUEUE, id.encode(), [("task", b"lab"), ("due", str(due_ms).encode())])
    return timer_write(message, task_id=id, due_ms=due_ms)


def _wait_for_all(options: TransportOptions, count: int, *, timeout: float) -> list[LogRecord]:
    """Wait until all have been fired, and a little longer for those that are fired twice."""
    reader = Reader(options)
    partitions = Questions(options).partitions(QUEUE, PATIENCE)

    def look() -> list[LogRecord]:
        records = list(map(LogRecord, reader.read_all(QUEUE, partitions, timeout=PATIENCE)))
        return records if len({record.value for record in records}) >= count else []

    with suppress(TimeoutError):  # the report says which are missing
        wait_until(look, timeout=timeout, what=f"{count} timers")
    pause(3)
    return list(map(LogRecord, reader.read_all(QUEUE, partitions, timeout=PATIENCE)))


def _standing(logs: Logs) -> list[str]:
    """Return the keys that stand in the log, as soon as it has none, or after a while."""

    def look() -> list[str]:
        last = {record.key: record.value for record in logs.read(LOG, timeout=PATIENCE)}
        return [key.decode() for key, value in last.items() if value is not None]

    with suppress(TimeoutError):
        wait_until(lambda: not look(), timeout=PATIENCE, what="an empty log")
    return look()


def _judge(report: Report, records: list[LogRecord], standing: list[str]) -> None:
    report.fired = len(records)
    report.late_ms = [
        record.timestamp_ms - int(dict(record.headers)["due"] or b"") for record in records
    ]
    times = Counter((record.value or b"").decode() for record in records)
    wanted = {f"t{number}" for number in range(report.timers)}
    for name, what in (
        ("fired twice", [key for key, count in times.items() if count > 1]),
        ("never fired", list(wanted - set(times))),
        ("never set", list(set(times) - wanted)),
        ("early", [str(late) for late in report.late_ms if late < 0]),
        ("left in the log", standing),
    ):
        if what:
            report.problems.append(f"{len(what)} {name}: {', '.join(sorted(what)[:5])}")


def main() -> int:
    """Run the long form; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--timers", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--protocol", default="auto", help="auto, consumer or classic")
    wanted = parser.parse_args()
    kafka = Kafka(identity=Identity(links=LINKS))
    with kafka, tempfile.TemporaryDirectory(prefix="shardlab-") as folder:
        report = run(
            kafka,
            Path(folder),
            lambda line: print(line, flush=True),
            seconds=wanted.seconds,
            timers=wanted.timers,
            seed=wanted.seed,
            protocol=wanted.protocol,
        )
    print(report.lines())
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
