"""A round with beats: schedules, beats that die, freeze, lose the broker, come and go, a broker that restarts, and then the count.

What must hold after it: for each schedule and each instant from its first load to the end, exactly one task for readers of
committed records; whoever was told to stop did so with exit code 0.
"""

from __future__ import annotations

import json
import random
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from taskq.clock import SystemClock
from taskq.exitcodes import UNREACHABLE
from taskq.scheduling.schedulelog import LOG, Shelf, read_key, read_shelf
from tests.scenarios.lab.beatcount import NAMES, BeatReport, Done, count, stale
from tests.scenarios.lab.crew import STOPPED_EARLY
from tests.scenarios.lab.faults import Fault, draw
from tests.scenarios.lab.links import Links
from tests.support.kafka import Kafka
from tests.support.processes import Process, Processes
from tests.support.proxy import Proxy
from tests.support.topicreader import Seen, read_topic
from tests.support.waiting import Deadline, pause

FEWEST, MOST = 3, 5
"""Beats that are present; whoever is killed or leaves is replaced if fewer are left."""

FREEZE_SECONDS = 15.0
PARTITION_SECONDS = 15.0
READY = "beat is ready"
PATIENCE = 60.0
QUEUE = "lab"
NAMESPACE = "lab"
SETTLE_SECONDS = 12.0
"""After the last fault, so that its effects are in the count."""

BEAT_MIX: Mapping[Fault, int] = {
    Fault.KILL_WORKER: 3,
    Fault.FREEZE_WORKER: 2,
    Fault.PARTITION: 2,
    Fault.LEAVE: 2,
    Fault.JOIN: 1,
    Fault.STOP_BROKER: 1,
}
"""Shares of the faults; a worker stands for a beat."""


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
    """Run a round on a broker of its own. Blocks for about `seconds`. Each kind of fault is done once before any comes again.

    Args:
        seed: Repeats the faults and their distances.
        seconds: How long faults come.
        kafka: A started broker that nobody else uses, with links enough for a beat each.
        folder: For the schedule file and the beats' output, which is printed in the end.
        say: Told of each fault.
        gap: Seconds between two faults, from and to.
    """
    with kafka.behind_proxies() as proxies, Processes(folder) as processes:
        return _Round(seed, kafka, folder, processes, proxies, say, gap).run(seconds)


class _Round:
    def __init__(
        self,
        seed: int,
        kafka: Kafka,
        folder: Path,
        processes: Processes,
        proxies: Sequence[Proxy],
        say: Callable[[str], None],
        gap: tuple[float, float],
    ) -> None:
        self._kafka = kafka
        self._file = folder / f"{NAMESPACE}.json"
        self._processes = processes
        self._dice = random.Random(seed)
        self._links = Links(proxies, self._dice)
        self._say = say
        self._gap = gap
        self._clock = SystemClock()
        self._present: list[Process] = []
        self._frozen: dict[Process, Deadline] = {}
        self._killed: list[Process] = []
        self._left: dict[Process, float] = {}
        self._done: list[Done] = []
        self._report = BeatReport(seed)

    def run(self, seconds: float) -> BeatReport:
        """Run it; return what came out."""
        self._file.write_text(json.dumps(schedule_file()))
        first = self._start_beat()  # alone, so that it is the one load
        first.wait_for_line(READY, timeout=PATIENCE)
        begun = self._clock.time()
        self._refill()
        end = Deadline(seconds)
        faults = draw(dict.fromkeys(BEAT_MIX, 1), len(BEAT_MIX), self._dice)
        faults += draw(BEAT_MIX, 10_000, self._dice)
        self._let_pass(SETTLE_SECONDS)
        while not end.is_over:
            fault = next((each for each in faults if self._is_possible(each)), None)
            if fault is not None:
                faults.remove(fault)
                self._do(fault)
            self._refill()
            self._let_pass(self._dice.uniform(*self._gap))
        for beat in list(self._frozen):
            self._thaw(beat)
        self._links.mend(at_once=True)
        self._let_pass(SETTLE_SECONDS)
        self._catch_up()
        self._stop_all()
        self._report.seconds = round(self._clock.time() - begun, 1)
        shelf, sent = _shelf(self._kafka), read_topic(self._kafka.bootstrap, QUEUE)
        count(self._report, shelf, sent, self._done, end=self._clock.time())
        return self._report

    # Beats

    def _start_beat(self) -> Process:
        link = self._links.choose()
        beat = self._processes.taskq(
            "beat", "-s", str(self._file), "-b", link.bootstrap, "-l", "info"
        )
        self._links.enter(beat, link)
        self._present.append(beat)
        return beat

    def _refill(self) -> None:
        self._present = [beat for beat in self._present if not _gave_up(beat)]
        while len(self._present) < FEWEST:
            self._start_beat()

    def _at_work(self) -> list[Process]:
        away = {*self._frozen, *self._links.cut_off}
        return [beat for beat in self._present if beat not in away and READY in beat.text]

    def _owners(self) -> list[Process]:
        return [beat for beat in self._at_work() if owned_shards(beat.text)]

    def _is_possible(self, fault: Fault) -> bool:
        if fault is Fault.JOIN:
            return len(self._present) < MOST
        if fault is Fault.STOP_BROKER:
            return True
        is_enough = len(self._at_work()) > 1
        return is_enough and (fault is not Fault.PARTITION or bool(self._owners()))

    def _do(self, fault: Fault) -> None:
        at, how = self._clock.time(), ""
        if fault is Fault.JOIN:
            self._start_beat()
        elif fault is Fault.STOP_BROKER:
            self._kafka.stop()
            self._kafka.start()
            how = f" ({self._clock.time() - at:.1f} s)"
        elif fault is Fault.PARTITION:
            owner = self._dice.choice(self._owners())
            shards = len(owned_shards(owner.text))
            how = f" ({shards} shards; {self._links.cut(owner, PARTITION_SECONDS).value})"
        else:
            self._do_to(self._dice.choice(self._at_work()), fault)
        self._done.append(Done(fault, at))
        self._say(f"{NAMES[fault]}{how}")

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
            self._links.mend()
            for beat in [each for each in self._left if not each.is_running]:
                self._note_end(beat)
            pause(min(0.05, deadline.remaining))

    def _catch_up(self) -> None:
        """Wait until no schedule stands still: on a busy machine a take-over lasts longer. The count says which still does."""
        deadline = Deadline(PATIENCE)
        while stale(_shelf(self._kafka), self._clock.now()) and not deadline.is_over:
            self._let_pass(1.0)

    def _stop_all(self) -> None:
        self._present = [beat for beat in self._present if not _gave_up(beat)]
        for beat in self._present:
            beat.signal(signal.SIGTERM)
            self._left[beat] = self._clock.monotonic()
        for beat in list(self._left):
            beat.wait(timeout=PATIENCE)
            self._note_end(beat)
        for beat in self._killed:
            beat.wait_gone(timeout=PATIENCE)
        self._report.problems += [
            f"{beat} printed a traceback"
            for beat in self._processes.all
            if "Traceback (most recent call last)" in beat.text
        ]

    def _note_end(self, beat: Process) -> None:
        took = self._clock.monotonic() - self._left.pop(beat)
        self._report.stop_seconds = round(max(self._report.stop_seconds, took), 2)
        code = beat.wait()
        has_begun = READY in beat.text
        if code and (has_begun or code not in (UNREACHABLE, STOPPED_EARLY)):
            self._report.problems.append(f"{beat} ended with {code} after SIGTERM")


def _gave_up(beat: Process) -> bool:
    """Return whether a beat has ended as it may: the broker was away when it started, and it has done nothing."""
    return not beat.is_running and beat.wait() == UNREACHABLE and READY not in beat.text


def owned_shards(text: str) -> set[int]:
    """Return which partitions of the log of schedules a beat owns, by what it has printed."""
    owned: set[int] = set()
    for verb, numbers in re.findall(
        rf"{LOG}: (\S+)(?: process owns)? the partitions ([\d, ]+)", text
    ):
        named = set(map(int, numbers.split(", ")))
        owned = named if verb == "this" else owned - named
    return owned


def _shelf(kafka: Kafka) -> Shelf:
    """Return what stands in the log of schedules."""
    return read_shelf(_Records(read_topic(kafka.bootstrap, LOG)), NAMESPACE)


class _Records:
    """Records of a topic as records of a log."""

    def __init__(self, seen: Sequence[Seen]) -> None:
        self._seen = seen

    def __iter__(self) -> Iterator[Any]:
        return iter([each for each in self._seen if read_key(each.key or b"") is not None])
