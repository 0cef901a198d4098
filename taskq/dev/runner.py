"""`taskq dev` from its first process to its exit code: what happens when something ends, changes or is asked for."""

from __future__ import annotations

import contextlib
import signal

from taskq.clock import Clock
from taskq.dev.child import Child
from taskq.dev.crew import Crew
from taskq.dev.plan import BEAT, RUN, WORKER, DevPlan
from taskq.dev.terminal import Terminal
from taskq.dev.watch import Watch
from taskq.errors import ScheduleFileError
from taskq.worker.signals import ALL_SIGNALS, Signals

STOPPED, FAILED, SIGNALLED = 0, 1, 128
"""Exit codes; a second signal's number is added to the last."""


class _AtOnce(Exception):
    """A second signal, or SIGQUIT, came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Dev:
    """One `taskq dev`. `run` is called once, in the main thread."""

    def __init__(
        self, plan: DevPlan, terminal: Terminal, clock: Clock, *, watch: Watch | None = None
    ) -> None:
        """Put the parts together; nothing is started.

        Args:
            plan: What is to be started.
            terminal: Where all is printed.
            clock: For everything that waits.
            watch: Tells when to start worker and beat anew; None: never.
        """
        self._plan = plan
        self._terminal = terminal
        self._crew = Crew(terminal, clock)
        self._watch = watch
        self._signals = Signals(_signals())
        self._asked: list[int] = []
        """The signals that asked for the end."""

        self._ends_at_once = False
        self._changed: list[str] = []
        """Files that changed since worker and beat were started."""

        self._queues: tuple[str, ...] = ()

    def run(self) -> int:
        """Work until a signal comes or a process ends by itself; return the exit code. No process is left behind.

        Raises:
            UsageError: The user's command cannot be started, or a schedule file cannot be used.
            TaskqError: Files cannot be watched.
        """
        with contextlib.ExitStack() as at_the_end:
            at_the_end.enter_context(self._signals)
            at_the_end.callback(self._crew.close)
            self._crew.listen(self._signals.fileno(), self._take_signals)
            if self._watch is not None:
                at_the_end.callback(self._watch.close)
                self._watch.start()
                self._crew.listen(self._watch.fileno(), self._take_changes)
            try:
                return self._run()
            except _AtOnce as at_once:
                self._ends_at_once = True
                self._terminal.say("ending at once")
                self._crew.end_now()
                return SIGNALLED + at_once.number

    def _run(self) -> int:
        self._queues = self._plan.schedule_queues()
        self._start_taskq()
        command = self._plan.command_plan()
        if command is not None:
            self._crew.start(command)
        while True:
            self._crew.turn()
            if self._asked:
                return self._stop()
            for child in self._crew.newly_ended():
                if self._take_end(child):
                    self._stop()
                    return FAILED
            if self._changed:
                self._restart()

    def _start_taskq(self) -> None:
        lifeline = self._crew.lifeline
        self._crew.start(self._plan.worker_plan(lifeline, self._queues))
        beat = self._plan.beat_plan(lifeline)
        if beat is not None:
            self._crew.start(beat)

    def _take_end(self, child: Child) -> bool:
        """Say how a process ended that nobody asked to; return whether that ends everything."""
        if child.name == RUN:
            self._terminal.say(f"{self._plan.shown_command} {child.end}")
            return False
        if self._watch is not None:
            if child.name == BEAT and child.ended_well:
                return False  # it has nothing to send
            self._terminal.say(f"{child.name} {child.end}; it starts again when a file changes")
            return False
        self._terminal.say(f"{child.name} {child.end}, so dev stops")
        return True

    def _restart(self) -> None:
        """Start worker and beat anew; what runs is finished before."""
        what, self._changed = ", ".join(self._changed), []
        self._terminal.say(f"{what} changed: worker and beat start anew")
        self._crew.end(self._crew.named(BEAT))
        self._crew.end(self._crew.named(WORKER))
        with contextlib.suppress(ScheduleFileError):  # beat says what is wrong
            self._queues = self._plan.schedule_queues()
        if not self._asked:
            self._start_taskq()

    def _stop(self) -> int:
        """End all in order: first who sends, then who runs what was sent."""
        self._terminal.say("stopping")
        self._crew.end(self._crew.named(BEAT, RUN))
        self._crew.end(self._crew.named(WORKER))
        failed = [child for child in self._crew.named(BEAT, WORKER) if not child.ended_well]
        for child in failed:
            self._terminal.say(f"{child.name} {child.end}")
        return FAILED if failed else STOPPED

    def _take_signals(self) -> None:
        for number in self._signals.wait(0.0):
            if number == signal.SIGCHLD or self._ends_at_once:
                continue
            self._asked.append(number)
            if number == signal.SIGQUIT or len(self._asked) > 1:
                raise _AtOnce(number)

    def _take_changes(self) -> None:
        assert self._watch is not None
        self._changed += self._watch.take()


def _signals() -> list[signal.Signals]:
    """Return the signals that mean something to dev."""
    numbers = [*ALL_SIGNALS, signal.SIGCHLD]  # the last does nothing but end a wait
    if (
        signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    ):  # the terminal is closed; `nohup` has that ignored
        numbers.append(signal.SIGHUP)
    return numbers
