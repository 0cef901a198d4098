"""The process that pool processes are copies of, with real processes and signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from taskq.worker.pools import nursery as module
from taskq.worker.pools.childstate import STARTED, ChildState
from taskq.worker.pools.nursery import UNKNOWN_EXIT, Copy, Nursery, NurseryGone

SECONDS = 10.0


def obey(link: socket.socket, state: ChildState) -> None:
    """Be a pool process: do what each byte says, and end when there is no parent."""
    while order := link.recv(1):
        if order == b"7":
            os._exit(7)
        elif order == b"k":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order == b"l":
            state.lock()
            state.numbers[STARTED] = 1
        elif order == b"i":
            ends = [str(n) for n in range(3) if os.get_inheritable(n)]
            link.sendall(",".join(ends).encode())
        elif order == b"r":
            link.sendall(str(len(os.read(0, 1))).encode())
        elif order == b"p":
            link.sendall(str(os.getppid()).encode())


class Child:
    """A process from the nursery, and the test's ends."""

    def __init__(self, nursery: Nursery) -> None:
        self.state = ChildState.new()
        self.link, theirs = socket.socketpair()
        try:
            self.process: Copy = nursery.start(theirs, self.state)
        except NurseryGone:
            self.close()
            raise
        finally:
            theirs.close()
        self.link.settimeout(SECONDS)

    def ask(self, order: bytes) -> str:
        self.link.sendall(order)
        return self.link.recv(100).decode()

    def end(self, order: bytes) -> int | None:
        self.link.sendall(order)
        self.process.join(SECONDS)
        return self.process.exitcode

    def close(self) -> None:
        self.link.close()
        self.state.close()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery(obey)
    yield nursery
    nursery.close()


@pytest.fixture
def start(nursery: Nursery) -> Iterator[Callable[[], Child]]:
    children: list[Child] = []

    def start() -> Child:
        children.append(Child(nursery))
        return children[-1]

    yield start
    for child in children:
        child.close()


def test_how_each_process_ended_is_told(start: Callable[[], Child]) -> None:
    first, second, third = start(), start(), start()

    assert second.end(b"7") == 7
    assert first.end(b"k") == -signal.SIGKILL
    assert third.process.is_alive()
    assert third.process.exitcode is None


def test_a_process_comes_from_the_nursery_with_nothing_to_read(
    nursery: Nursery, start: Callable[[], Child]
) -> None:
    child = start()

    assert child.ask(b"p") == str(nursery._pid)
    assert child.ask(b"r") == "0"
    assert child.ask(b"i") == "0,1,2"


def test_a_process_ends_with_its_link_though_others_were_started_after_it(
    start: Callable[[], Child],
) -> None:
    first, second = start(), start()

    first.link.close()
    first.process.join(SECONDS)

    assert first.process.exitcode == 1  # it came back from what it is to do
    assert second.process.is_alive()


def test_a_lock_that_a_process_died_with_is_free(start: Callable[[], Child]) -> None:
    child = start()
    child.link.sendall(b"l")

    assert child.end(b"k") == -signal.SIGKILL

    assert child.state.numbers[STARTED] == 1
    assert child.state.try_lock()


def test_signals_of_a_terminal_end_no_nursery(nursery: Nursery, start: Callable[[], Child]) -> None:
    start()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(nursery._pid, number)

    assert start().ask(b"p") == str(nursery._pid)


def test_a_nursery_that_was_killed_is_gone_and_so_is_what_is_known_of_its_processes(
    nursery: Nursery, start: Callable[[], Child]
) -> None:
    child = start()

    os.kill(nursery._pid, signal.SIGKILL)
    child.process.join(SECONDS)

    assert child.process.exitcode == UNKNOWN_EXIT
    with pytest.raises(NurseryGone):
        start()


def test_a_nursery_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    nursery = Nursery(obey)
    os.kill(nursery._pid, signal.SIGSTOP)

    with pytest.raises(NurseryGone):
        Child(nursery)

    nursery.close()
    with pytest.raises(ProcessLookupError):
        os.kill(nursery._pid, 0)


def test_signal_handlers_of_the_users_modules_do_not_run_in_the_nursery() -> None:
    def refuse(_number: int, _frame: object) -> None:
        raise RuntimeError("not here")

    before = signal.signal(signal.SIGUSR1, refuse)
    try:
        nursery = Nursery(obey)
    finally:
        signal.signal(signal.SIGUSR1, before)
    os.kill(nursery._pid, signal.SIGUSR1)

    child = Child(nursery)
    answer = child.ask(b"p")
    child.close()
    nursery.close()

    assert answer == str(nursery._pid)


def test_what_multiprocessing_renews_after_a_fork_is_renewed_in_each_process() -> None:
    program = """
        import multiprocessing.util, os, socket, sys
        from taskq.worker.pools.childstate import ChildState
        from taskq.worker.pools.nursery import Nursery

        class Kept:
            def renew(self):
                print("renewed", flush=True)

        def run(link, state):
            os._exit(0)

        kept = Kept()
        multiprocessing.util.register_after_fork(kept, Kept.renew)
        nursery = Nursery(run)
        mine, theirs = socket.socketpair()
        for _ in range(2):
            nursery.start(theirs, ChildState.new()).join(10)
        nursery.close()
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["renewed", "renewed"]


def test_no_process_more_is_an_error_of_the_system() -> None:
    program = """
        import os, socket
        from taskq.worker.pools.childstate import ChildState
        from taskq.worker.pools.nursery import Nursery

        def fork():
            raise OSError(11, "no more")

        real = os.fork
        def fork_once():
            os.fork = fork  # in the copy, too: it is what the nursery calls
            return real()

        os.fork = fork_once
        nursery = Nursery(print)
        mine, theirs = socket.socketpair()
        try:
            nursery.start(theirs, ChildState.new())
        except OSError as error:
            print(error.errno)
        nursery.close()
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )

    assert done.stdout == "11\n"


def test_what_waits_to_be_printed_is_printed_once() -> None:
    program = """
        import os, socket, sys
        from taskq.worker.pools.childstate import ChildState
        from taskq.worker.pools.nursery import Nursery

        def run(link, state):
            print("child")
            sys.stdout.flush()
            os._exit(0)

        print("worker")
        nursery = Nursery(run)
        mine, theirs = socket.socketpair()
        nursery.start(theirs, ChildState.new()).join(10)
        nursery.close()
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )

    assert done.stdout == "worker\nchild\n"
