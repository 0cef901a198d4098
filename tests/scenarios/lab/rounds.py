"""One round: a load, workers, faults one after the other, then quiet, and the count.

What must hold after it: no task ran twice; never run are at most as many of the acknowledged ones as the killed had claimed, all
others did run; of those with `acks_late` every one has run to its end, some more than once; the group's lag is 0; whoever was told
to stop did so with exit code 0, and no orphan lives.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from tests.scenarios.apps.faults import QUEUES
from tests.scenarios.lab.blame import Strike, blame
from tests.scenarios.lab.brokers import Brokers
from tests.scenarios.lab.crew import Crew
from tests.scenarios.lab.faults import MOST_CUT_SHORT, MOST_LOST, OF_BROKERS, Fault, draw, most
from tests.scenarios.lab.links import Links
from tests.scenarios.lab.progress import Progress
from tests.scenarios.lab.report import Report
from tests.scenarios.lab.sender import Sender
from tests.support.cluster import KafkaCluster
from tests.support.kafka import admin
from tests.support.offsets import committed_offsets
from tests.support.processes import Processes
from tests.support.proxy import Proxy
from tests.support.waiting import Deadline, Stopwatch, moment, pause, wait_until

T = TypeVar("T")

GROUP = "taskq"
PATIENCE = 120.0
"""Seconds for what must happen sooner or later: a worker at work, all tasks claimed."""

PAUSE_SECONDS = (0.5, 3.5)
"""Between two faults."""

STALL_LIMIT = 60.0
"""Seconds. A session is 6, a broker's outage some 10: whatever stands still for so long has stopped consuming."""


@dataclass(frozen=True)
class Plan:
    """What a round is to do."""

    mix: Mapping[Fault, int]
    faults: int
    seed: int
    protocol: str = "auto"


def run_round(
    plan: Plan, cluster: KafkaCluster, folder: Path, say: Callable[[str], None] = lambda line: None
) -> Report:
    """Run a round on brokers of its own, with fresh queues. Blocks for about three seconds a fault.

    Args:
        plan: What to do.
        cluster: Started brokers that nobody else uses, with links enough for a worker each.
        folder: For the ledger and the workers' output, which is printed if something is wrong.
        say: Told of each fault.
    """
    with cluster.behind_proxies() as proxies, Processes(folder) as processes:
        report = _Round(plan, cluster, folder, processes, proxies, say).run()
        if report.problems:
            print(report.lines())
            for process in processes.all:
                print(f"--- {process} printed:\n{process.text[-6000:]}")
    return report


class _Round:
    def __init__(
        self,
        plan: Plan,
        cluster: KafkaCluster,
        folder: Path,
        processes: Processes,
        proxies: Sequence[Proxy],
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._bootstrap = cluster.bootstrap
        self._say = say
        self._processes = processes
        self._dice = random.Random(plan.seed)
        ledger = folder / "ledger"
        self._progress = Progress(ledger)
        self._crew = Crew(
            processes,
            self._dice,
            links=Links(proxies, self._dice),
            ledger=str(ledger),
            more=plan.protocol,
            may_give_up=len(cluster.nodes) == 1,
        )
        self._sender = Sender(
            cluster.bootstrap, plan.seed, started=lambda: len(self._progress.starts)
        )
        self._brokers = Brokers(cluster, self._dice)
        self._strikes: list[Strike] = []
        self._watch = Stopwatch()
        self._problems: list[str] = []

    def run(self) -> Report:
        """Run it; return what came out."""
        done: Counter[Fault] = Counter()
        self._sender.start()
        try:
            self._strike(done)
        except TimeoutError as error:  # what stands still is counted, too
            self._problems.append(str(error))
        self._come_to_rest()
        return self._report(done)

    def _strike(self, done: Counter[Fault]) -> None:
        """Do all faults, and count them as they are done."""
        self._crew.refill()
        self._until(lambda: self._crew.is_possible(Fault.LEAVE, self._progress.pids), "workers")
        left = draw(self._plan.mix, self._plan.faults, self._dice)
        while left:
            fault = self._until(lambda: self._possible(left), f"a chance for one of {left}")
            left.remove(fault)
            done[fault] += 1
            self._say(f"{self._watch.seconds:6.1f} s  {fault.value}: {self._do(fault)}")
            self._crew.refill()
            self._let_pass(self._dice.uniform(*PAUSE_SECONDS))

    def _possible(self, left: list[Fault]) -> Fault | None:
        return next(filter(self._is_possible, left), None)

    def _is_possible(self, fault: Fault) -> bool:
        if fault in OF_BROKERS:
            return self._brokers.is_possible(fault)
        return self._crew.is_possible(fault, self._progress.pids)

    def _do(self, fault: Fault) -> str:
        if fault is Fault.ROLL_WORKERS:
            return self._roll_workers()
        at = moment()
        if fault in OF_BROKERS:
            what, pids = self._meanwhile(partial(self._brokers.do, fault)), frozenset[int]()
        else:
            what, pids = self._crew.do(fault, self._progress.pids)
        self._strikes.append(Strike(at, fault, pids))
        return what

    def _roll_workers(self) -> str:
        count = 0
        for successor, pids in self._crew.roll():
            self._strikes.append(Strike(moment(), Fault.ROLL_WORKERS, pids))
            self._until(partial(self._crew.is_at_work, successor, self._progress.pids), "a worker")
            count += 1
        return f"{count} workers"

    def _look(self) -> None:
        self._progress.read_on()
        self._crew.thaw()

    def _let_pass(self, seconds: float) -> None:
        deadline = Deadline(seconds)
        while not deadline.is_over:
            self._look()
            pause(min(0.1, deadline.remaining))

    def _meanwhile(self, action: Callable[[], str]) -> str:
        """Let something go on that may take long, and look: the load must not wait for it, nor who is to be thawed."""
        with ThreadPoolExecutor(1) as thread:
            result = thread.submit(action)
            while not result.done():
                self._look()
                pause(0.1)
            return result.result()

    def _until(self, condition: Callable[[], T | None], what: str) -> T:
        def look() -> T | None:
            self._look()
            return condition()

        found = wait_until(look, timeout=PATIENCE, what=what)
        assert found is not None, "it is true"
        return found

    def _come_to_rest(self) -> None:
        """End the load, let everybody work it off, and stop them."""
        self._sender.stop()
        self._crew.thaw(at_once=True)
        try:
            self._until(lambda: lag(self._bootstrap) == 0, "lag 0")
        except TimeoutError:
            self._problems.append(f"the lag is still {lag(self._bootstrap)}")
        self._problems += self._crew.stop_all()
        self._progress.read_on()

    def _report(self, done: Counter[Fault]) -> Report:
        progress, sent, late = self._progress, self._sender.sent, self._sender.late
        never = [id for id in sent if id not in progress.starts and id not in late]
        often = {id: count for id, count in progress.starts.items() if count > 1}
        twice = {id: count for id, count in often.items() if id not in late}
        late_never = [id for id in sent if id in late and id not in progress.ends]
        foreign = progress.starts.keys() - sent.keys() - self._sender.unknown
        early = [id for id in progress.starts if id not in late]
        cut_short = [id for id in early if id not in progress.ends]
        waits = (at - sent[id] for id, at in progress.begun.items() if id in sent)
        report = Report(
            seeds=[self._plan.seed],
            faults={fault.name: count for fault, count in done.items()},
            sent=len(sent),
            unknown=len(self._sender.unknown),
            once=sum(1 for id in early if progress.starts[id] == 1),
            never=len(never),
            most_lost=most(MOST_LOST, done),
            twice=len(twice),
            cut_short=len(cut_short),
            late=len(late & sent.keys()),
            late_once=sum(1 for id in late if progress.starts.get(id) == 1),
            late_never=len(late_never),
            late_again=sum(1 for id in often if id in late),
            again_by=blame(self._strikes, (each for each in progress.repeats if each.id in late)),
            longest_stall=round(progress.longest_stall, 2),
            longest_wait=round(max(waits, default=0.0), 2),
            seconds=round(self._watch.seconds, 1),
            problems=self._problems,
        )
        most_cut_short = most(MOST_CUT_SHORT, done)
        for is_wrong, problem in (
            (twice, f"{len(twice)} tasks ran more than once: {_some(twice)}"),
            (foreign, f"{len(foreign)} tasks ran that nobody sent: {_some(foreign)}"),
            (
                late_never,
                f"{len(late_never)} with acks_late did not run to an end: {_some(late_never)}",
            ),
            (
                len(never) > report.most_lost,
                f"{len(never)} never ran, {report.most_lost} at most: {_some(never)}",
            ),
            (
                len(cut_short) > most_cut_short,
                f"{len(cut_short)} did not end, {most_cut_short} at most: {_some(cut_short)}",
            ),
            (progress.longest_stall > STALL_LIMIT, f"no task for {progress.longest_stall:.0f} s"),
        ):
            if is_wrong:
                report.problems.append(problem)
        report.problems += self._tracebacks()
        return report

    def _tracebacks(self) -> list[str]:
        return [
            f"{process} printed a traceback"
            for process in self._processes.all
            if "Traceback (most recent call last)" in process.text
        ]


def _some(ids: Iterable[str]) -> str:
    return ", ".join(islice(ids, 5))


def lag(bootstrap: str) -> int:
    """Return how many records of the load's queues no worker has claimed. Asks the broker."""
    client = admin(bootstrap)
    topics = client.list_topics(timeout=PATIENCE).topics
    partitions = [
        TopicPartition(queue, number) for queue in QUEUES for number in topics[queue].partitions
    ]
    found = committed_offsets(bootstrap, GROUP, partitions, timeout=PATIENCE)
    wanted = dict.fromkeys(partitions, OffsetSpec.latest())
    ends = {
        (partition.topic, partition.partition): answer.result(PATIENCE).offset
        for partition, answer in client.list_offsets(wanted).items()
    }
    return sum(ends[place] - max(offset, 0) for place, offset in found.items())
