"""A round with beats: schedules, beats that die, freeze, come and go, a broker that is started again, and then the count.

What must hold after it: for each schedule and each instant from its first load to the end, exactly one task for readers of
committed records; whoever was told to stop did so with exit code 0.
"""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from taskq.clock import SystemClock
from taskq.occurrences import Definition, begin, delay_of, planned_instants
from taskq.schedulelog import LOG, Shelf, read_key, read_shelf
from tests.scenarios.lab.faults import Fault, draw
from tests.support.kafka import Kafka
from tests.support.processes import Process, Processes
from tests.support.topicreader import Seen, read_topic
from tests.support.waiting import Deadline, pause

FEWEST, MOST = 3, 5
"""Beats that are present; whoever is killed or leaves is replaced if fewer are left."""

FREEZE_SECONDS = 15.0
READY = "beat is ready"
QUEUE = "lab"
NAMESPACE = "lab"
SETTLE_SECONDS = 12.0
"""After the last fault, so that its effects are in the count."""

BEAT_MIX: Mapping[Fault, int] = {
    Fault.KILL_WORKER: 3,
    Fault.FREEZE_WORKER: 2,
    Fault.LEAVE: 2,
    Fault.JOIN: 1,
    Fault.STOP_BROKER: 1,
}
"""Shares of the faults; a worker stands for a beat."""

NAMES: Mapping[Fault, str] = {
    Fault.KILL_WORKER: "kill -9",
    Fault.FREEZE_WORKER: "SIGSTOP 15 s, SIGCONT",
    Fault.LEAVE: "SIGTERM",
    Fault.JOIN: "start",
    Fault.STOP_BROKER: "broker restart",
}


@dataclass
class BeatReport:
    """What came out of a round."""

    seed: int
    seconds: float = 0.0
    schedules: int = 0
    occurrences: int = 0
    missing: int = 0
    twice: int = 0
    early: int = 0
    longest_lateness: float = 0.0
    """Seconds between an occurrence's due time and its record's."""

    lateness: dict[str, float] = field(default_factory=dict)
    """Seconds: `p50`, `p99` of all."""

    take_over: dict[str, dict[str, float]] = field(default_factory=dict)
    """By kind of fault its number, and the longest lateness until the next fault: `count`, `median`, `longest`, in seconds."""

    stop_seconds: float = 0.0
    """The longest end after SIGTERM."""

    problems: list[str] = field(default_factory=list)


def schedule_file(every_second: int = 50) -> list[dict[str, Any]]:
    """Return so many schedules of each second, and ten of other kinds."""
    entries: list[dict[str, Any]] = [
        {"id": f"second-{n}", "cron": "* * * * * *"} for n in range(every_second)
    ]
    others: list[dict[str, Any]] = [
        {"cron": "@every 2s"},
        {"cron": "@every 7s"},
        {"cron": "@every 13s", "catch_up": "none"},
        {"cron": "*/3 * * * * *", "catch_up": "all"},
        {"cron": "*/10 * * * * *", "timezone": "Europe/Lisbon"},
        {"cron": "1,5,59 * * * * *", "dialect": "robfig-v1"},
        {"cron": "CRON_TZ=Asia/Tokyo * * * * *"},
        {"cron": "* * * * * *", "jitter": 3},
        {"cron": "*/5 * * * * *", "jitter": 2, "key": "one"},
        {"cron": "30 * * * * *", "expires": 60, "headers": {"tenant": "ACME"}},
    ]
    entries += [{"id": f"other-{n}", **other} for n, other in enumerate(others)]
    return [{"task": "nothing", "queue": QUEUE, **entry} for entry in entries]


def run_beats(
    seed: int,
    seconds: float,
    kafka: Kafka,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
    *,
    gap: tuple[float, float] = (4.0, 12.0),
) -> BeatReport:
    """Run a round on a broker of its own. Blocks for about `seconds`.

    Args:
        seed: Repeats the faults and their distances.
        seconds: How long faults come.
        kafka: A started broker that nobody else uses.
        folder: For the schedule file and the beats' output, which is printed in the end.
        say: Told of each fault.
        gap: Seconds between two faults, from and to.
    """
    with Processes(folder) as processes:
        return _Round(seed, kafka, folder, processes, say, gap).run(seconds)


@dataclass(frozen=True)
class _Done:
    """A fault that was done."""

    fault: Fault
    at: float
    """Seconds since 1970."""


class _Round:
    def __init__(
        self,
        seed: int,
        kafka: Kafka,
        folder: Path,
        processes: Processes,
        say: Callable[[str], None],
        gap: tuple[float, float],
    ) -> None:
        self._kafka = kafka
        self._file = folder / f"{NAMESPACE}.json"
        self._processes = processes
        self._dice = random.Random(seed)
        self._say = say
        self._gap = gap
        self._clock = SystemClock()
        self._present: list[Process] = []
        self._frozen: dict[Process, Deadline] = {}
        self._killed: list[Process] = []
        self._left: dict[Process, float] = {}
        self._done: list[_Done] = []
        self._report = BeatReport(seed)

    def run(self, seconds: float) -> BeatReport:
        """Run it; return what came out."""
        self._file.write_text(json.dumps(schedule_file()))
        self._start_beat().wait_for_line(READY, timeout=30)  # alone, so that it is the one load
        begun = self._clock.time()
        self._refill()
        end = Deadline(seconds)
        faults = iter(draw(BEAT_MIX, 10_000, self._dice))
        self._let_pass(SETTLE_SECONDS)
        while not end.is_over:
            self._do(next(faults))
            self._refill()
            self._let_pass(self._dice.uniform(*self._gap))
        for beat in list(self._frozen):
            self._thaw(beat)
        self._let_pass(SETTLE_SECONDS)
        self._stop_all()
        self._report.seconds = round(self._clock.time() - begun, 1)
        self._count()
        return self._report

    # Beats

    def _start_beat(self) -> Process:
        beat = self._processes.taskq(
            "beat", "-s", str(self._file), "-b", self._kafka.bootstrap, "-l", "info"
        )
        self._present.append(beat)
        return beat

    def _refill(self) -> None:
        while len(self._present) < FEWEST:
            self._start_beat()

    def _at_work(self) -> list[Process]:
        return [beat for beat in self._present if beat not in self._frozen and READY in beat.text]

    def _do(self, fault: Fault) -> None:
        at_work = self._at_work()
        if fault in (Fault.KILL_WORKER, Fault.FREEZE_WORKER, Fault.LEAVE) and len(at_work) < 2:
            return
        at = self._clock.time()
        if fault is Fault.JOIN:
            if len(self._present) >= MOST:
                return
            self._start_beat()
        elif fault is Fault.STOP_BROKER:
            self._kafka.stop()
            self._kafka.start()
        else:
            self._do_to(self._dice.choice(at_work), fault)
        self._done.append(_Done(fault, at))
        self._say(f"{NAMES[fault]}")

    def _do_to(self, beat: Process, fault: Fault) -> None:
        if fault is Fault.FREEZE_WORKER:
            beat.freeze()
            self._frozen[beat] = Deadline(FREEZE_SECONDS)
            return
        self._present.remove(beat)
        if fault is Fault.LEAVE:
            beat.signal(signal.SIGTERM)
            self._left[beat] = self._clock.monotonic()
        else:
            beat.kill()
            self._killed.append(beat)

    def _thaw(self, beat: Process) -> None:
        beat.thaw()
        del self._frozen[beat]

    def _let_pass(self, seconds: float) -> None:
        deadline = Deadline(seconds)
        while not deadline.is_over:
            for beat in [each for each, end in self._frozen.items() if end.is_over]:
                self._thaw(beat)
            for beat in [each for each in self._left if not each.is_running]:
                self._note_end(beat)
            pause(min(0.05, deadline.remaining))

    def _stop_all(self) -> None:
        for beat in self._present:
            beat.signal(signal.SIGTERM)
            self._left[beat] = self._clock.monotonic()
        for beat in list(self._left):
            beat.wait(timeout=60)
            self._note_end(beat)
        for beat in self._killed:
            beat.wait_gone()
        self._report.problems += [
            f"{beat} printed a traceback"
            for beat in self._processes.all
            if "Traceback (most recent call last)" in beat.text
        ]

    def _note_end(self, beat: Process) -> None:
        took = self._clock.monotonic() - self._left.pop(beat)
        self._report.stop_seconds = round(max(self._report.stop_seconds, took), 2)
        code = beat.wait()
        if code:
            self._report.problems.append(f"{beat} ended with {code} after SIGTERM")

    # The count

    def _count(self) -> None:
        report = self._report
        shelf = _shelf(self._kafka)
        sent = [seen for seen in read_topic(self._kafka.bootstrap, QUEUE) if "id" in seen.headers]
        by_id = Counter(seen.id for seen in sent)
        expected = _expected(shelf)
        missing = [id for id in expected if id not in by_id]
        foreign = [id for id in by_id if id not in expected]
        twice = [id for id, count in by_id.items() if count > 1]
        report.schedules, report.occurrences = len(shelf.schedules), len(sent)
        report.missing, report.twice = len(missing), len(twice)
        late = {seen.id: _lateness(seen, expected) for seen in sent if seen.id in expected}
        early = [id for id, seconds in late.items() if seconds < 0]
        report.early = len(early)
        for what, ids in (
            ("are missing", missing),
            ("were not planned", foreign),
            ("were sent more than once", twice),
            ("were sent early", early),
        ):
            if ids:
                report.problems.append(f"{len(ids)} {what}, such as {list(islice(ids, 3))}")
        report.problems += _stale(shelf, max(expected.values()))
        values = sorted(late.values())
        report.longest_lateness = round(values[-1], 3)
        report.lateness = {
            f"p{part}": round(values[len(values) * part // 100], 4) for part in (50, 99)
        }
        report.take_over = self._take_overs(late, expected)

    def _take_overs(
        self, late: Mapping[str, float], expected: Mapping[str, datetime]
    ) -> dict[str, dict[str, float]]:
        """Return by kind the longest lateness of what came due between a fault and the next one."""
        ends = [done.at for done in self._done[1:]] + [self._clock.time()]
        found: dict[str, list[float]] = {}
        for done, end in zip(self._done, ends, strict=True):
            within = [
                seconds
                for id, seconds in late.items()
                if done.at - 1 <= expected[id].timestamp() < end - 1
            ]
            found.setdefault(NAMES[done.fault], []).append(max(within, default=0.0))
        return {
            kind: {
                "count": len(values),
                "median": round(sorted(values)[len(values) // 2], 2),
                "longest": round(max(values), 2),
            }
            for kind, values in found.items()
        }


def _shelf(kafka: Kafka) -> Shelf:
    """Return what stands in the log of schedules."""
    return read_shelf(_Records(read_topic(kafka.bootstrap, LOG)), NAMESPACE)


class _Records:
    """Records of a topic as records of a log."""

    def __init__(self, seen: Sequence[Seen]) -> None:
        self._seen = seen

    def __iter__(self) -> Iterator[Any]:
        return iter([each for each in self._seen if read_key(each.key or b"") is not None])


def _expected(shelf: Shelf) -> dict[str, datetime]:
    """Return all occurrences from the load to where each schedule's state says it is, with their due times."""
    found: dict[str, datetime] = {}
    for stored in shelf.schedules.values():
        assert stored.definition is not None
        assert stored.state is not None
        definition: Definition = stored.definition
        delay = delay_of(definition)
        for at in planned_instants(begin(definition), stored.state.state.cursor):
            found[f"{definition.name}@{at:%Y-%m-%dT%H:%M:%SZ}"] = at + delay
    return found


def _lateness(seen: Seen, expected: Mapping[str, datetime]) -> float:
    sent = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=seen.timestamp_ms)
    return (sent - expected[seen.id]).total_seconds()


def _stale(shelf: Shelf, end: datetime) -> list[str]:
    """Return the schedules that have stood still before the end."""
    problems = []
    for id, stored in shelf.schedules.items():
        assert stored.definition is not None
        assert stored.state is not None
        left = end - timedelta(seconds=5) - delay_of(stored.definition)
        due = list(planned_instants(stored.state.state, left))
        if due:
            problems.append(f"{id} stands still since {due[0]}")
    return problems
