"""Tasks for scenarios: each notes in the ledger that `TEST_LEDGER` names that it started and that it ended.

Imported by workers (`-A tests.support.scene_tasks`) and by the sending test, which needs no ledger.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path
from time import perf_counter

from taskq import App, Context, Reject, current_request
from taskq.clock import SystemClock
from tests.support.ledger import Ledger
from tests.support.waiting import wait_until

app = App("scene")

GATE_SECONDS = 120.0
"""How long a gate is waited for: longer than any test."""


def note(event: str, detail: str = "") -> None:
    """Write a line about the task that runs."""
    request = current_request()
    assert request is not None
    Ledger(os.environ["TEST_LEDGER"]).write(request.id, event, detail)


@app.task("act")
def act(what: str = "nothing", detail: str = "") -> None:
    """Do one of many things. All have one name, so that what was quick before counts as quick when it is slow."""
    # comparable between processes of one machine: Linux and macOS count from its start
    note("started", f"{perf_counter():.6f}")
    _ACTS[what](detail)
    note("ended", f"{perf_counter():.6f}")


@app.task("act late", acks_late=True, max_deliveries=2)
def act_late(what: str = "nothing", detail: str = "") -> None:
    """Do one of the same things, and be settled afterwards."""
    request = current_request()
    assert request is not None
    note("delivered", f"{request.deliveries} {request.redelivered}")
    act(what, detail)


@app.task("stumble", bind=True, max_retries=2)
def stumble(self: Context, failures: int, countdown: float = 0.2, gate: str = "") -> None:
    """Fail so many times, and ask each time to be run again; each attempt notes how late it is, and waits for a gate."""
    request = self.request
    now = SystemClock().now()
    lateness = (now - (request.eta or now)).total_seconds()
    note(f"attempt-{request.retries}", f"{lateness:.6f}")
    if gate:
        _wait_for_gate(gate)
    if request.retries < failures:
        try:
            raise ConnectionError(f"no answer to {request.retries}")
        except ConnectionError as error:
            self.retry(exc=error, countdown=countdown)
    note("ended")


@app.task("step", bind=True, max_retries=None)
def step(
    self: Context,
    key: str,
    number: int,
    failures: int = 0,
    seconds: float = 0.0,
    countdown: float = 0.05,
) -> None:
    """Be one of many of a key: fail so many times, and note each run's begin and end."""
    retries = self.request.retries
    note("began", f"{key} {number} {retries}")
    if seconds:
        _wait_seconds(str(seconds))
    note("left", f"{key} {number} {retries}")
    if retries < failures:
        self.retry(countdown=countdown)


@app.task("step late", bind=True, max_retries=None, acks_late=True)
def step_late(
    self: Context,
    key: str,
    number: int,
    failures: int = 0,
    seconds: float = 0.0,
    countdown: float = 0.05,
) -> None:
    """Be one that settles afterwards."""
    step.fn(self, key, number, failures, seconds, countdown)


@app.task("put back", bind=True)
def put_back(self: Context, times: int) -> None:
    """Put the message back to its queue until it was so often in hand; note whether it says so."""
    note("in-hand", str(self.request.redelivered))
    handed = Ledger(os.environ["TEST_LEDGER"]).ids("in-hand").count(self.request.id)
    if handed < times:
        raise Reject("not yet", requeue=True)


def _wait_for_gate(path: str) -> None:
    wait_until(Path(path).exists, timeout=GATE_SECONDS, what=f"the gate {path}")


def _wait_seconds(seconds: str) -> None:
    threading.Event().wait(float(seconds))


def _kill(pid: str) -> None:
    os.kill(int(pid), signal.SIGKILL)


def _kill_then_wait(pid_and_gate: str) -> None:
    pid, _, gate = pid_and_gate.partition(" ")
    _kill(pid)
    _wait_for_gate(gate)


def _tell_lateness(_: str) -> None:
    request = current_request()
    assert request is not None
    now = SystemClock().now()
    note("late", f"{(now - (request.eta or now)).total_seconds():.6f}")


def _fail(text: str) -> None:
    raise ValueError(text)


def _crash(_: str) -> None:
    ctypes.string_at(0)


def _recurse(_: str) -> None:
    _recurse(_)


def _fork(how: str) -> None:
    pid = os.fork()
    if pid == 0:
        if how == "exit":
            sys.exit(3)
        if how == "fail":
            raise ValueError("in the fork")
        return
    _, status = os.waitpid(pid, 0)
    note("forked", str(os.waitstatus_to_exitcode(status)))


def _leak_thread(_: str) -> None:
    threading.Thread(target=threading.Event().wait, name="leaked").start()


def _print(text: str) -> None:
    print(f"stdout: {text}")
    print(f"stderr: {text}", file=sys.stderr)


def _tell_directory(_: str) -> None:
    note("directory", str(Path.cwd()))


_ACTS = {
    "nothing": lambda _: None,
    "wait for gate": _wait_for_gate,
    "wait seconds": _wait_seconds,
    "kill": _kill,
    "kill, then wait for gate": _kill_then_wait,
    "kill itself": lambda _: _kill(str(os.getpid())),
    "lateness": _tell_lateness,
    "fail": _fail,
    "exit": lambda code: sys.exit(int(code)),
    "exit at once": lambda code: os._exit(int(code)),
    "crash": _crash,
    "recurse": _recurse,
    "fork": _fork,
    "interrupt": lambda _: (_ for _ in ()).throw(KeyboardInterrupt),
    "leak a thread": _leak_thread,
    "print": _print,
    "change directory": os.chdir,
    "tell directory": _tell_directory,
}
