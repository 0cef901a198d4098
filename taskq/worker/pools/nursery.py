"""The process that pool processes are copies of.

It is itself a copy of the worker, made when the worker has imported the user's modules and nothing else: no thread runs yet, and
there is no client of Kafka. So a pool process has the modules from its first instruction, costs the memory that it changes, and
is there within milliseconds, also when it replaces one that died. The worker itself could not be copied later: a child would hold
copies of librdkafka's handles, and of locks held by threads that it does not have.

Over a pair of sockets the worker sends one byte and three descriptors for each process that it wants, and is answered with its
number. How a process ended is written into a pipe of its own, whatever the process has left behind that holds copies of its
descriptors. The nursery ends when the worker's end of the sockets is closed; a pool process notices that by its own link.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import struct
import sys
import traceback
import weakref
from collections.abc import Callable
from typing import NoReturn

from taskq.streams import empty, flush_or_discard
from taskq.worker.pools.childstate import ChildState

UNKNOWN_EXIT = 255
"""What is told of a process whose nursery is gone: nobody can wait for it, and it may be alive."""

_ANSWER = struct.Struct("q")
"""The number of a new process, or the system's error with a minus before it."""

_STATUS = struct.Struct("i")


ANSWER_SECONDS = 10.0
"""For a new process. A nursery that takes longer is frozen or worse, and is killed."""


class NurseryGone(Exception):
    """It has ended: killed by somebody, or by the system for want of memory.

    Whether it has made the process that it was asked for is not known: what that process was to have is of no use any more.
    """


class Copy:
    """A process that the nursery made, as the worker sees it. One thread at a time may ask it."""

    def __init__(self, pid: int, status: int) -> None:
        """Take over the end of the pipe that tells how it ended."""
        self.pid = pid
        self.sentinel = status
        """A descriptor that is readable when the process has ended."""

        self._exitcode: int | None = None
        weakref.finalize(self, os.close, status)

    @property
    def exitcode(self) -> int | None:
        """How it ended, as multiprocessing tells it: minus the signal's number if one killed it. None while it runs."""
        if self._exitcode is None and _is_readable(self.sentinel, 0):
            status = os.read(self.sentinel, _STATUS.size)
            self._exitcode = _STATUS.unpack(status)[0] if status else UNKNOWN_EXIT
        return self._exitcode

    def is_alive(self) -> bool:
        """Return whether it runs, as far as is known."""
        return self.exitcode is None

    def join(self, timeout: float) -> None:
        """Wait for its end, at most so many seconds."""
        if self._exitcode is None:
            _is_readable(self.sentinel, timeout)


class Nursery:
    """The worker's end. One thread at a time may use it."""

    def __init__(self, run: Callable[[socket.socket, ChildState], None]) -> None:
        """Copy this process, as it is at this moment.

        Args:
            run: What each pool process does, with its end of its link and its state; does not return.

        Raises:
            OSError: The system gives no process.
        """
        self._control, theirs = socket.socketpair()
        self._control.settimeout(ANSWER_SECONDS)
        flush_or_discard(empty)  # else what waits there is printed once by each
        # A signal in between would be handled in both.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._pid = os.fork()
            if not self._pid:
                self._control.close()
                _be_nursery(theirs, run)
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)  # may raise what was kept back

    def start(self, link: socket.socket, state: ChildState) -> Copy:
        """Start a pool process; blocks until it exists.

        Args:
            link: Its end of its link.
            state: What it shares with its parent.

        Raises:
            NurseryGone: There is no nursery any more.
            OSError: The system gives no process, or no descriptor.
        """
        status, theirs = os.pipe()
        try:
            number = self._ask([link.fileno(), state.descriptor, theirs])
            if number < 0:
                raise OSError(-number, os.strerror(-number))
        except BaseException:
            os.close(status)
            raise
        finally:
            os.close(theirs)
        return Copy(number, status)

    def _ask(self, descriptors: list[int]) -> int:
        try:
            socket.send_fds(self._control, [b"+"], descriptors)
            answer = self._control.recv(_ANSWER.size, socket.MSG_WAITALL)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        except TimeoutError:
            self._end()
            answer = b""
        if len(answer) < _ANSWER.size:
            raise NurseryGone
        number: int = _ANSWER.unpack(answer)[0]
        return number

    def close(self) -> None:
        """End it, after the last pool process: nobody can tell how those end that are left."""
        self._control.close()
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(ChildProcessError):  # ended before, or reaped by the user's module
            if not os.waitpid(self._pid, os.WNOHANG)[0]:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)


def _is_readable(descriptor: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


# The copy's side


def _be_nursery(
    control: socket.socket, run: Callable[[socket.socket, ChildState], None]
) -> NoReturn:
    code = 1
    try:
        _Nursery(control, run).serve()
        code = 0
    except BaseException:  # noqa: BLE001 - the process's door
        traceback.print_exc()
    finally:
        os._exit(code)


class _Nursery:
    def __init__(
        self, control: socket.socket, run: Callable[[socket.socket, ChildState], None]
    ) -> None:
        self._control = control
        self._run = run
        self._statuses: dict[int, int] = {}
        self._bell, self._bell_handle = os.pipe()
        for descriptor in (self._bell, self._bell_handle):
            os.set_blocking(descriptor, False)

    def serve(self) -> None:
        """Start and bury processes until the worker has closed its end."""
        self._settle()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._bell:
                    os.read(self._bell, 4096)
                    self._bury()
                elif not self._start_one():
                    return

    def _settle(self) -> None:
        """Become a process that only its link's end ends: signals of a terminal or a supervisor go to every process of the group.

        All but two stay blocked, as they were for the fork: what the user's modules do at a signal is not for here.
        """
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0, inheritable=True)
        os.close(null)
        signal.set_wakeup_fd(self._bell_handle, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _take_no_notice)
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, signal.SIGQUIT))
        # What is there now stays: a collector that marks it would make each process's pages its own.
        gc.freeze()

    def _start_one(self) -> bool:
        """Take one request; return False if the worker is gone."""
        request, descriptors, _, _ = socket.recv_fds(self._control, 1, 3)
        if not request:
            return False
        if len(descriptors) < 3:  # the others found no place in this process
            for descriptor in descriptors:
                os.close(descriptor)
            self._answer(-errno.EMFILE)
            return True
        link, state, status = descriptors
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or 1)
            os.close(status)
        if pid == 0:
            self._be_child(link, state, status)
        if pid > 0:
            self._statuses[pid] = status
        os.close(link)
        os.close(state)
        self._answer(pid)
        return True

    def _answer(self, number: int) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # seen in the next round
            self._control.sendall(_ANSWER.pack(number))

    def _be_child(self, link: int, state: int, status: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGTERM):  # now the worker's, which raise
                signal.signal(number, _take_no_notice)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for mine in (self._bell, self._bell_handle, status, *self._statuses.values()):
                os.close(mine)
            self._control.close()
            _forget_what_is_the_parents()
            self._run(socket.socket(fileno=link), ChildState(state))
        except BaseException:  # noqa: BLE001 - the process's door
            traceback.print_exc()
        finally:
            os._exit(1)

    def _bury(self) -> None:
        """Tell of all that have ended how they did."""
        while self._statuses:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            told = self._statuses.pop(pid, None)
            if told is not None:
                with contextlib.suppress(BrokenPipeError):
                    os.write(told, _STATUS.pack(os.waitstatus_to_exitcode(status)))
                os.close(told)


def _forget_what_is_the_parents() -> None:
    """Do what multiprocessing does in each process that it forks itself, with names of its own: there are no public ones.

    Otherwise a manager's proxy that a module has made would use the connection of the worker's in all of its copies at once, and
    they would take each other's answers.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._run_after_forkers()
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        process._children = set()  # type: ignore[attr-defined]


def _take_no_notice(_number: int, _frame: object) -> None:
    """Handle a signal; not SIG_IGN, which the programs that tasks start would inherit."""
