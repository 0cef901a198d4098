"""Tasks for tests of pools, and the app they belong to. Imported by pool processes, too."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shlex
import signal
import sys
import threading
from pathlib import Path

from taskq import App, Context, Ignore, Reject, SoftTimeLimitExceeded, current_request

app = App("pools")

_left_running: set[asyncio.Task[None]] = set()


def _note(path: str, text: str) -> None:
    """Append a line with one write, so that it is there whatever becomes of the process."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)


@app.task("note")
def note(path: str, text: str) -> None:
    _note(path, text)


@app.task("pid")
def pid(path: str) -> None:
    _note(path, str(os.getpid()))


@app.task("fails")
def fails() -> None:
    raise ValueError("no\nluck")


@app.task("fails_quietly", dead_letter=False)
def fails_quietly() -> None:
    raise ValueError("nobody wants to know")


@app.task("rejects")
def rejects() -> None:
    raise Reject("broken invoice")


@app.task("ignores")
def ignores() -> None:
    raise Ignore("nothing to do")


@app.task("adds")
def adds(a: int, b: int) -> int:
    return a + b


@app.task("waits_for_file")
def waits_for_file(started: str, path: str) -> None:
    """Say that it has begun, then wait until a file exists."""
    _note(started, str(os.getpid()))
    pause = threading.Event()
    while not Path(path).exists():
        pause.wait(0.005)


def _spin() -> None:
    while True:
        pass


@app.task("spins")
def spins(path: str) -> None:
    """Note that it has begun, and never end."""
    _note(path, "begun")
    _spin()


@app.task("spins_on")
def spins_on(path: str) -> None:
    """Never end, whatever the soft limit says; note what it said."""
    try:
        _spin()
    except SoftTimeLimitExceeded as error:
        _note(path, str(error))
        _spin()


@app.task("tidies_up")
def tidies_up(path: str) -> None:
    """Note the soft limit, and return."""
    try:
        _spin()
    except SoftTimeLimitExceeded:
        _note(path, "tidied up")


@app.task("waits_async")
async def waits_async(path: str) -> None:
    """Wait for ever on the loop; note what ended that."""
    try:
        await asyncio.Event().wait()
    except BaseException as error:
        _note(path, type(error).__name__)
        raise


_kept: list[bytes] = []


@app.task("keeps")
def keeps(size: int) -> None:
    """Keep so many bytes in the process's memory, for ever."""
    _kept.append(b"x" * size)


@app.task("exits")
def exits() -> None:
    sys.exit(3)


@app.task("dies")
def dies(code: int) -> None:
    os._exit(code)


@app.task("notes_inheritable")
def notes_inheritable(path: str) -> None:
    """Note the descriptors that programs inherit."""
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            if os.get_inheritable(int(name)):
                _note(path, name)


@app.task("leaves_a_program_and_dies")
def leaves_a_program_and_dies(path: str, code: int) -> None:
    """Leave a program running in the background, note its pid, and end the process."""
    os.system(f"sleep 600 & echo $! >> {shlex.quote(path)}")
    os._exit(code)


@app.task("leaves_a_process_and_dies")
def leaves_a_process_and_dies(path: str, code: int) -> None:
    """Fork, note the new process's pid, and end the own one."""
    pid = os.fork()
    if not pid:
        threading.Event().wait(600)
        os._exit(0)
    _note(path, str(pid))
    os._exit(code)


@app.task("is_killed")
def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task("changes_directory")
def changes_directory() -> None:
    os.chdir("/")


@app.task("where")
def where(path: str) -> None:
    _note(path, str(Path.cwd()))


@app.task("leaks_a_thread")
def leaks_a_thread() -> None:
    threading.Thread(target=threading.Event().wait).start()


@app.task("sleeps")
async def sleeps(path: str, text: str) -> None:
    await asyncio.sleep(0)
    _note(path, text)


@app.task("meets")
async def meets(path: str, text: str, others: int) -> None:
    """End only when as many others have begun."""
    _note(path, text)
    while len(Path(path).read_text(encoding="utf-8").splitlines()) < others:  # noqa: ASYNC110, ASYNC240 - they share only the file
        await asyncio.sleep(0.005)


@app.task("cancels_all")
async def cancels_all() -> None:
    """Cancel everything else that runs on the loop, also what has not begun."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@app.task("leaves_an_exit")
async def leaves_an_exit() -> None:
    """Leave something on the loop that calls sys.exit when this has ended."""

    async def inner() -> None:
        sys.exit(4)

    _left_running.add(asyncio.create_task(inner()))


@app.task("bound", bind=True)
def bound(context: Context, path: str) -> None:
    asked = current_request()
    assert asked is context.request
    _note(path, f"{asked.id} {asked.task} {asked.queue}/{asked.partition}/{asked.offset}")


@app.task("terminates_its_process")
def terminates_its_process(path: str) -> None:
    process = multiprocessing.get_context("fork").Process(target=threading.Event().wait)
    process.start()
    process.terminate()
    process.join(10)
    process.kill()
    _note(path, str(process.exitcode))


@app.on("worker_process_init")
def at_start() -> None:
    path = os.environ.get("POOL_TASKS_HOOKS")
    if path:
        _note(path, "init")
    if os.environ.get("POOL_TASKS_BREAK"):
        raise RuntimeError("the hook does not like it here")
    refusal = os.environ.get("POOL_TASKS_REFUSE_WHILE")
    if refusal and Path(refusal).exists():
        raise RuntimeError("the database restarts")


@app.on("worker_process_shutdown")
def at_end() -> None:
    path = os.environ.get("POOL_TASKS_HOOKS")
    if path:
        _note(path, "shutdown")
