"""The program of one prefork child: takes deliveries off its socket, runs them one after the other, reports in batches.

Two numbers in shared memory tell the parent for certain how far it is, whatever becomes of the socket: `started` is moved before a
run and `done` after it. A report that is more than a plain success is written before `done` moves, so what `done` covers and no
report told is a plain success.

What a task may do to its process: print (flushed when the child runs dry), change the working directory (put back after each task),
leave threads behind (they do not hold up the end), call `sys.exit` (a failure of that task only). A changed umask, signal handler
or environment stays: it is the task's process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from taskq.logs import LogPlan, configure_logging
from taskq.running.executor import Executor
from taskq.running.runresult import SUCCEEDED
from taskq.worker.pools.alarms import SignalAlarm
from taskq.worker.pools.childstate import DONE, RECALL_FROM, RECALL_TO, STARTED, ChildState
from taskq.worker.pools.memory import resident_bytes
from taskq.worker.pools.reports import BATCH, REPORT_AFTER
from taskq.worker.pools.wire import Done, FrameReader, Hello, Task, frame

if TYPE_CHECKING:
    from taskq.app import App

_LAST_STANDARD_DESCRIPTOR = 2

_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ChildSetup:
    """What a pool process is told at its start. Pickled, for one that has an interpreter of its own.

    Attributes:
        load: Returns the app, with the worker's settings and all tasks; importable by name.
        logs: How log lines are made.
        max_tasks: Tasks after which it is replaced; None: never.
        max_memory: Bytes of memory above which it is replaced when its task has ended; None: never.
    """

    load: Callable[[], App]
    logs: LogPlan
    max_tasks: int | None = None
    max_memory: int | None = None


class ChildRecord:
    """A record as the child has it."""

    __slots__ = (
        "deliveries",
        "delivery_tag",
        "headers",
        "key",
        "offset",
        "partition",
        "queue",
        "redelivered",
        "timestamp_ms",
        "value",
    )
    offset_expired = False
    deaths = 0
    is_suspect = False
    lived = False

    def __init__(self, task: Task) -> None:
        (
            self.delivery_tag,
            self.queue,
            self.partition,
            self.offset,
            self.timestamp_ms,
            self.key,
            self.headers,
            self.value,
            self.redelivered,
            self.deliveries,
            _short,
        ) = task


class Child:
    """The loop. Everything happens in the process's main thread."""

    def __init__(
        self,
        executor: Executor,
        link: socket.socket,
        state: ChildState,
        setup: ChildSetup,
    ) -> None:
        self._executor = executor
        self._link = link
        self._shared = state
        self._state = state.numbers
        self._reader = FrameReader()
        # Kept: a new one for each read costs more than the read.
        self._room = memoryview(bytearray(_READ_BYTES))
        self._waiting: deque[Task] = deque()
        self._results: list[Done] = []
        self._reported = 0.0
        self._stopping = False
        self._runs = 0
        self._max_runs, self._max_memory = setup.max_tasks, setup.max_memory
        self._is_retiring = False
        self._home = _working_directory()
        self._hangup = select.poll()
        # No events asked for: only "the other end is gone" is told, not that there is something to read.
        self._hangup.register(link.fileno(), 0)

    def run(self) -> None:
        """Work until the parent says stop and all is done, or the parent is gone, or a limit of the process is met.

        What it holds then and has not started goes to others: the parent sees by the counters which it is.
        """
        waiting = self._waiting
        while True:
            while waiting and not self._is_retiring:
                if self._hangup.poll(0):
                    return
                self._run_one(waiting.popleft())
            self._report()
            if self._is_retiring or self._stopping or not self._receive():
                return

    def _receive(self) -> bool:
        """Wait for deliveries; return False if the parent is gone."""
        _flush_output()
        try:
            size = self._link.recv_into(self._room)
        except ConnectionResetError:  # gone, with reports unread
            return False
        for tasks in self._reader.feed(self._room[:size]):
            if tasks:
                self._waiting.extend(tasks)
            else:
                self._stopping = True
        return size > 0

    def _run_one(self, task: Task) -> None:
        seq = task[0]
        if self._results and not task[-1]:
            # It may take long: what is finished must not wait for it.
            self._report()
        if not self._start(seq):
            return
        self._runs += 1
        if self._runs == self._max_runs:
            # Now, so that the next process starts while this one's last task runs.
            self._retire(f"has run {self._runs} tasks")
        result = self._executor.execute(ChildRecord(task))
        self._results.append((seq, result))
        if (
            result[0] != SUCCEEDED
            or result[3] is not None
            or len(self._results) >= BATCH
            or perf_counter() - self._reported >= REPORT_AFTER
        ):
            self._report()
        self._state[DONE] = seq + 1
        if self._max_memory is not None and not self._is_retiring:
            size = resident_bytes()
            if size > self._max_memory:
                count = f"{self._runs} task{'s' if self._runs > 1 else ''}"
                self._retire(f"has {size / 1e6:.0f} MB of memory after {count}")
        if self._home is not None and _working_directory() != self._home:
            with contextlib.suppress(OSError):
                os.chdir(self._home)

    def _start(self, seq: int) -> bool:
        """Mark a delivery as started, unless it was recalled."""
        state = self._state
        self._shared.lock()
        try:
            if state[RECALL_FROM] <= seq < state[RECALL_TO]:
                return False
            state[STARTED] = seq + 1
        finally:
            self._shared.unlock()
        return True

    def _retire(self, why: str) -> None:
        """Tell the parent that this is the last task."""
        self._is_retiring = True
        hello: Hello = ("retiring", why)
        _send(self._link, hello)

    def _report(self) -> None:
        self._reported = perf_counter()
        if self._results:
            results, self._results = self._results, []
            _send(self._link, results)


def _send(link: socket.socket, message: list[Done] | Hello) -> None:
    """Send to the parent. If it is gone nobody is left to tell, and the next look at the link ends the loop."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        link.sendall(frame(message))


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - once a task: a Path costs more than the task's own call
    except FileNotFoundError:
        return None


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            # A task may have replaced or closed it.
            stream.flush()


def _leave_stop_signals_to_the_parent() -> None:
    """Take no notice of SIGINT and SIGTERM, which a terminal or a supervisor sends to every process of the group.

    A handler that does nothing, not SIG_IGN: that would be inherited by the programs that tasks start.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    _let_forked_processes_be_ended()


def _let_forked_processes_be_ended() -> None:
    """Have a process that a task forks take stop signals as any other, such as that of multiprocessing's `terminate()`.

    Also one that comes in its first moment, while it still has the handlers of this one.
    """
    stop = (signal.SIGINT, signal.SIGTERM)
    masks = threading.local()

    def keep_back() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, stop)

    def go_on() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def take() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        go_on()

    os.register_at_fork(before=keep_back, after_in_parent=go_on, after_in_child=take)


def _keep_descriptors_from_programs(link: socket.socket) -> None:
    """Keep the programs that tasks start from inheriting the ends whose closing tells of this process's death.

    They arrive inheritable: the socket, and from multiprocessing one end of a pipe that only its own code knows, so that all that
    are open now are treated alike. They are its own: what a user's module opens is not inheritable by itself.
    """
    link.set_inheritable(False)
    with contextlib.suppress(OSError):  # no such folder here
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError):  # the listing's own is closed by now
                if int(name) > _LAST_STANDARD_DESCRIPTOR:
                    os.set_inheritable(int(name), False)


def main(setup: ChildSetup, link: socket.socket, state: ChildState) -> None:
    """Be a pool process. Never returns: ends the process past everything that tasks may have left behind.

    Args:
        setup: What to run.
        link: The own end of the pair of sockets.
        state: What it shares with its parent.
    """
    code = 1
    try:
        _leave_stop_signals_to_the_parent()
        _keep_descriptors_from_programs(link)
        code = _serve(setup, link, state)
    finally:
        _flush_output()
        os._exit(code)


def _serve(setup: ChildSetup, link: socket.socket, state: ChildState) -> int:
    try:
        app = setup.load()
        # After the app's modules, which may have their own wishes.
        configure_logging(setup.logs.level, setup.logs.form)
        executor = Executor(app, setup.logs, alarm=SignalAlarm(cancels=False))
        executor.hooks.call_strictly("worker_process_init")
    except BaseException as error:  # noqa: BLE001 - around the user's modules and hooks
        hello: Hello = ("failed", f"{type(error).__name__}: {error}")
        _send(link, hello)
        return 1
    _send(link, ("ready", ""))
    Child(executor, link, state, setup).run()
    executor.hooks.call("worker_process_shutdown")
    executor.close()
    return 0
