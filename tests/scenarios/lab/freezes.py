"""How long plain tasks stand still behind an owner of timers that is frozen in the middle of a transaction.

Timers pour into a queue without a pause, so that their owner has a transaction open most of the time, and plain tasks do, which
nothing but that transaction can hold up: a `read_committed` reader, as every worker is, stops in front of it. The owner is stopped
again and again until the log's ends show that this was in the middle of one; then it stays stopped until plain tasks run again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from taskq import App
from tests.scenarios.apps import faults as app
from tests.scenarios.lab.progress import Progress
from tests.support.cluster import KafkaCluster
from tests.support.kafka import admin
from tests.support.processes import Process, Processes
from tests.support.waiting import Deadline, moment, pause, wait_until

QUEUE = "fast"
"""Of the task that is sent, plainly and as timers."""

IDLE = "idle"
"""What the owners of timers take as workers: nobody sends there."""

PLAIN_PAUSE = 0.01
"""Seconds between two plain tasks."""

COUNTDOWN = 0.5
"""Of each timer: long enough to be read by its owner before it is due."""

PINNED_SECONDS = 0.3
"""For how long the end of what is committed must not move while the log grows: a hundred times a transaction."""

PATIENCE = 120.0
READY = r"worker: ready$"
OWNS, RELEASED, LOST = (
    "this process owns the partitions ",
    "released the partitions ",
    "lost the partitions ",
)
SHARDS = 16


@dataclass(frozen=True)
class Freeze:
    """One freeze in the middle of a transaction. Seconds."""

    has_heir: bool
    """Whether another process could take the timers over; without one the broker has to end the transaction itself."""

    held: int
    """Partitions of the queue in which the transaction was open, of 12."""

    wait: float
    """The longest wait of a plain task from its acknowledgement to its start."""

    gap: float
    """The longest time in which no plain task started at all: those in other partitions go on."""

    tries: int
    """How often the owner was stopped until it was in the middle of one."""


def measure_freeze(
    cluster: KafkaCluster,
    folder: Path,
    number: int,
    *,
    has_heir: bool,
    say: Callable[[str], None] = lambda line: None,
) -> Freeze:
    """Freeze one owner of timers and return how long plain tasks stood still. Blocks for half a minute.

    Args:
        cluster: Started brokers that nobody else uses.
        folder: For the ledger and the processes' output.
        number: Of the freeze: topics and groups of each have names of their own.
        has_heir: Whether another owner of timers lives meanwhile.
        say: Told what was measured.

    Raises:
        TimeoutError: The owner was never met in the middle of a transaction, or plain tasks did not run again.
    """
    folder.mkdir()
    with Processes(folder) as processes:
        scene = _Freezing(cluster, processes, folder / "ledger", f"freeze{number}.", has_heir)
        found = scene.run()
        for process in processes.all:
            process.output.write_text("")  # or it would be printed
    say(f"frozen {'with' if has_heir else 'without'} an heir: {found}")
    return found


class _Freezing:
    def __init__(
        self,
        cluster: KafkaCluster,
        processes: Processes,
        ledger: Path,
        prefix: str,
        has_heir: bool,
    ) -> None:
        self._bootstrap = cluster.bootstrap
        self._processes = processes
        self._progress = Progress(ledger)
        self._env = {
            app.LEDGER: str(ledger),
            "TASKQ_PREFIX": prefix,
            "TASKQ_BROKER": cluster.bootstrap,
        }
        self._topic = prefix + QUEUE
        self._has_heir = has_heir
        self._sender = App("sender", broker=cluster.bootstrap, prefix=prefix)
        self._tiny = app.register(self._sender).tiny
        self._sent: dict[str, float] = {}
        self._client = admin(cluster.bootstrap)

    def run(self) -> Freeze:
        worker = self._worker("--no-timers", "-Q", QUEUE, "-c", "2")
        owner = self._owner("owner")
        heirs = [self._owner("heir")] if self._has_heir else []
        worker.wait_for_line(READY, timeout=PATIENCE)
        self._wait_shared([owner, *heirs])
        with self._sending():
            self._until(lambda: len(self._progress.starts) > 200, "the first tasks")
            tries, held, at = self._freeze_inside(owner)
            self._until(lambda: not self._pinned(held), "the transaction's end")
            released = moment()
            self._until(
                lambda: self._all_started_before(released), "the tasks that stood behind it"
            )
        self._sender.close()
        waits, gap = self._waits(at)
        for process in self._processes.all:
            process.kill_all()
        return Freeze(self._has_heir, len(held), round(max(waits), 2), round(gap, 2), tries)

    def _worker(self, *options: str) -> Process:
        return self._processes.taskq("worker", "-A", app.WORKER, *options, env=self._env)

    def _owner(self, name: str) -> Process:
        """Start a process that keeps the time, and runs nothing."""
        return self._worker(
            *("-Q", IDLE, "--group", IDLE, "-P", "threads", "-c", "1", "-n", name, "-l", "debug")
        )

    def _wait_shared(self, owners: list[Process]) -> None:
        """Wait until the owners have the log's partitions among them, each a part."""

        def look() -> bool:
            owned = [_owned(owner) for owner in owners]
            return all(owned) and sum(map(len, owned)) == SHARDS

        wait_until(look, timeout=PATIENCE, what="owners of all timers")

    @contextmanager
    def _sending(self) -> Iterator[None]:
        """Send timers and plain tasks meanwhile, each from a thread."""
        stopping = threading.Event()
        timer = self._tiny.options(countdown=COUNTDOWN)

        def send_plain() -> None:
            while not stopping.wait(PLAIN_PAUSE):
                id = self._tiny.delay().id
                self._sent[id] = moment()

        def send_timers() -> None:
            while not stopping.is_set():
                timer.delay()

        threads = [threading.Thread(target=each, daemon=True) for each in (send_plain, send_timers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopping.set()
            for thread in threads:
                thread.join()

    def _freeze_inside(self, owner: Process) -> tuple[int, dict[int, int], float]:
        """Freeze an owner in the middle of a transaction; return after how many tries, what stands still where, and since when."""
        deadline, tries = Deadline(PATIENCE), 0
        while not deadline.is_over:
            tries += 1
            at = moment()
            owner.freeze()
            held = self._uncommitted()
            if held:
                pause(PINNED_SECONDS)
                held = self._pinned(held)
            if held:
                return tries, held, at
            owner.thaw()
            pause(PINNED_SECONDS)
            self._progress.read_on()
        raise TimeoutError(f"frozen {tries} times, and never in the middle of a transaction")

    def _pinned(self, held: dict[int, int]) -> dict[int, int]:
        """Return which partitions still end for readers where they did."""
        now = self._uncommitted()
        return {number: end for number, end in held.items() if now.get(number) == end}

    def _uncommitted(self) -> dict[int, int]:
        """Return the partitions whose end is not committed, and where what is committed ends."""
        committed = self._ends(IsolationLevel.READ_COMMITTED)
        written = self._ends(IsolationLevel.READ_UNCOMMITTED)
        return {number: end for number, end in committed.items() if end < written[number]}

    def _ends(self, isolation: IsolationLevel) -> dict[int, int]:
        partitions = self._client.list_topics(self._topic, timeout=PATIENCE)
        wanted = {
            TopicPartition(self._topic, number): OffsetSpec.latest()
            for number in partitions.topics[self._topic].partitions
        }
        found = self._client.list_offsets(wanted, isolation_level=isolation)
        return {place.partition: answer.result(PATIENCE).offset for place, answer in found.items()}

    def _all_started_before(self, at: float) -> bool:
        sent = [id for id, when in list(self._sent.items()) if when <= at]
        return all(id in self._progress.starts for id in sent)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        def look() -> bool:
            self._progress.read_on()
            return condition()

        wait_until(look, timeout=PATIENCE, what=what)

    def _waits(self, since: float) -> tuple[list[float], float]:
        """Return how long the plain tasks of the freeze waited, and the longest time in which none started."""
        begun = {id: at for id, at in self._progress.begun.items() if id in self._sent}
        waits = [at - self._sent[id] for id, at in begun.items() if at >= since]
        starts = sorted(at for at in begun.values() if at >= since)
        gaps = (after - before for before, after in zip([since, *starts], starts, strict=False))
        return waits, max(gaps)


def _owned(owner: Process) -> set[str]:
    """Return which partitions of the log an owner has by what it said."""
    owned: set[str] = set()
    for line in owner.text.splitlines():
        if OWNS in line:
            owned = set(line.partition(OWNS)[2].split(", "))
        for gone in (RELEASED, LOST):
            owned -= set(line.partition(gone)[2].split(", "))
    return owned
