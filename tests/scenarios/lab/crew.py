"""The workers of a round, and what is done to them."""

from __future__ import annotations

import random
import signal
from collections.abc import Collection, Iterator

from taskq.exitcodes import UNREACHABLE
from tests.scenarios.apps import faults as app
from tests.scenarios.lab.faults import SLOTS, Fault
from tests.scenarios.lab.links import Links
from tests.support.processes import Process, Processes, process_table, send_signal
from tests.support.waiting import Deadline

FEWEST, MOST = 3, 5
"""Workers. Whoever is killed or leaves is replaced if fewer are left."""

FREEZE_SECONDS = (7.0, 11.0)
"""Past the session of 6 s: the others take over while it is frozen, or cut off."""

GONE_TIMEOUT = 60.0
"""Seconds for a worker that was told to stop, or for orphaned children, to end."""

STOPPED_EARLY = -signal.SIGTERM
"""Exit code of a worker that was told to stop while Python itself was starting: it had taken nothing."""

READY = "worker: ready"


class Crew:
    """Workers that are present, frozen, cut off or gone. One thread uses it."""

    def __init__(
        self,
        processes: Processes,
        dice: random.Random,
        *,
        links: Links,
        ledger: str,
        more: str,
        may_give_up: bool,
    ) -> None:
        """Prepare.

        Args:
            processes: Starts the workers.
            dice: Chooses among them.
            links: The ways to the brokers.
            ledger: Where the tasks write.
            more: The group protocol.
            may_give_up: Whether workers may end while they start because no broker answers: where the only one may be away.
        """
        self._processes = processes
        self._dice = dice
        self._env = {app.LEDGER: ledger, "TASKQ_GROUP_PROTOCOL": more}
        self._command = ("worker", "-A", app.WORKER, "-c", str(SLOTS))
        self._links = links
        self._may_give_up = may_give_up
        self.present: list[Process] = []
        self.frozen: dict[Process, Deadline] = {}
        self.left: list[Process] = []
        self._killed: list[Process] = []
        self.started = 0

    def start_worker(self) -> Process:
        """Start one more."""
        self.started += 1
        link = self._links.choose()
        more = ("-b", link.bootstrap, "-n", f"w{self.started}")
        worker = self._processes.taskq(*self._command, *more, env=self._env)
        self._links.enter(worker, link)
        self.present.append(worker)
        return worker

    def refill(self) -> None:
        """Replace who is gone."""
        self.present = [worker for worker in self.present if not self._gave_up(worker)]
        while len(self.present) < FEWEST:
            self.start_worker()

    def is_possible(self, fault: Fault, pids: Collection[int]) -> bool:
        """Return whether a fault of workers can be done now; `pids` are the processes that have run tasks."""
        if fault is Fault.JOIN:
            return len(self.present) < MOST
        return len(self._at_work(pids)) > (0 if fault is Fault.KILL_CHILD else 1)

    def do(self, fault: Fault, pids: Collection[int]) -> tuple[str, frozenset[int]]:
        """Do a fault that is possible now, to a random worker; return to which, and the pool processes it struck."""
        if fault is Fault.JOIN:
            return str(self.start_worker().pid), frozenset()
        worker = self._dice.choice(self._at_work(pids))
        children = frozenset(pool_children(worker))
        if fault is Fault.KILL_CHILD:
            child = self._dice.choice(sorted(children.intersection(pids)))
            send_signal([child], signal.SIGKILL)
            return f"{child} of {worker.pid}", frozenset({child})
        if fault in (Fault.FREEZE_WORKER, Fault.FREEZE_PARENT):
            self.frozen[worker] = Deadline(self._dice.uniform(*FREEZE_SECONDS))
            if fault is Fault.FREEZE_WORKER:
                worker.freeze()
            else:
                worker.signal(signal.SIGSTOP)
        elif fault is Fault.PARTITION:
            how = self._links.cut(worker, self._dice.uniform(*FREEZE_SECONDS))
            return f"{worker.pid}, {how.value}", children
        elif fault is Fault.LEAVE:
            self._retire(worker)
        else:
            self.present.remove(worker)
            (worker.kill_all if fault is Fault.KILL_WORKER else worker.kill)()
            self._killed.append(worker)
        return str(worker.pid), children

    def roll(self) -> Iterator[tuple[Process, frozenset[int]]]:
        """Replace all who are reachable, one by one; yield each successor, and the pool processes of whom it follows."""
        for worker in [each for each in self.present if self._is_reachable(each)]:
            children = frozenset(pool_children(worker))
            self._retire(worker)
            yield self.start_worker(), children

    def is_at_work(self, worker: Process, pids: Collection[int]) -> bool:
        """Return whether a worker is reachable, and not still starting."""
        return self._is_reachable(worker) and any(pid in pids for pid in pool_children(worker))

    def _is_reachable(self, worker: Process) -> bool:
        """Return whether a worker is neither frozen nor cut off."""
        return worker not in self.frozen and worker not in self._links.cut_off

    def _gave_up(self, worker: Process) -> bool:
        """Return whether a worker has ended as it may, having done nothing."""
        if worker.is_running or not self._may_give_up or READY in worker.text:
            return False
        return worker.wait() == UNREACHABLE

    def _retire(self, worker: Process) -> None:
        self.present.remove(worker)
        worker.signal(signal.SIGTERM)
        self.left.append(worker)

    def thaw(self, *, at_once: bool = False) -> None:
        """Let those go on that have been frozen or cut off for long enough, or all."""
        for worker in [each for each, end in self.frozen.items() if at_once or end.is_over]:
            worker.thaw()
            del self.frozen[worker]
        self._links.mend(at_once=at_once)

    def stop_all(self) -> list[str]:
        """Stop all in order; return what went wrong with their ends or with those of earlier ones. Blocks."""
        self.present = [worker for worker in self.present if not self._gave_up(worker)]
        for worker in self.present:
            worker.signal(signal.SIGTERM)
        problems = []
        for worker in [*self.left, *self.present]:
            code = worker.wait(timeout=GONE_TIMEOUT)
            if code and not (code == STOPPED_EARLY and READY not in worker.text):
                problems.append(f"{worker} ended with {code} after SIGTERM")
        for worker in [*self.left, *self.present, *self._killed]:
            try:
                worker.wait_gone(timeout=GONE_TIMEOUT)
            except TimeoutError as error:
                problems.append(str(error))
        return problems

    def _at_work(self, pids: Collection[int]) -> list[Process]:
        return [worker for worker in self.present if self.is_at_work(worker, pids)]


def pool_children(worker: Process) -> list[int]:
    """Return the pids of the processes that run a worker's tasks: its nursery's children."""
    table = [entry for entry in process_table() if not entry.is_zombie]
    nurseries = {entry.pid for entry in table if entry.parent == worker.pid}
    return [entry.pid for entry in table if entry.parent in nurseries]
