"""Processes that tests start can be watched, frozen and killed with all that they started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.ledger import Ledger
from tests.support.processes import Processes, process_table
from tests.support.waiting import wait_until

FORKSERVER = """
import multiprocessing, threading

def sleep():
    print("child up", flush=True)
    threading.Event().wait()

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    for _ in range(2):
        context.Process(target=sleep).start()
    print("parent up", flush=True)
    threading.Event().wait()
"""


def children_of_forkserver(processes: Processes, folder: os.PathLike[str]) -> list[int]:
    """Start a parent with two forkserver children; return all pids below it."""
    script = os.path.join(folder, "parent.py")
    with open(script, "w") as file:
        file.write(FORKSERVER)
    parent = processes.python(script)
    parent.wait_for_line("parent up")
    wait_until(lambda: parent.text.count("child up") == 2, timeout=20, what="both children")
    return parent.descendants()


def states(pids: list[int]) -> set[str]:
    """Return the states of processes as /proc tells them."""
    found = set()
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            found.add(file.read().rpartition(")")[2].split()[0])
    return found


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def test_line_is_waited_for_and_matched(processes: Processes) -> None:
    process = processes.python("-c", "print('ready on port 42')")

    assert process.wait_for_line(r"port (\d+)")[1] == "42"
    assert process.wait() == 0


def test_end_without_the_line_is_told_with_what_it_printed(processes: Processes) -> None:
    process = processes.python("-c", "print('something else'); raise SystemExit(3)")

    with pytest.raises(TimeoutError, match=r"ended with 3 .*\n?.*something else"):
        process.wait_for_line("ready")


def test_descendants_of_a_forkserver_are_found(
    processes: Processes, tmp_path: os.PathLike[str]
) -> None:
    pids = children_of_forkserver(processes, tmp_path)

    assert len(pids) >= 3, "two children and the forkserver"


def test_children_of_a_killed_parent_are_found_and_killed(
    processes: Processes, tmp_path: os.PathLike[str]
) -> None:
    children_of_forkserver(processes, tmp_path)
    parent = processes.all[0]

    parent.kill()
    orphans = parent.descendants()
    parent.kill_all()

    assert len(orphans) >= 2
    assert not set(orphans) & {entry.pid for entry in process_table() if not entry.is_zombie}


@linux
def test_freeze_stops_the_whole_family(processes: Processes, tmp_path: os.PathLike[str]) -> None:
    pids = children_of_forkserver(processes, tmp_path)
    parent = processes.all[0]

    parent.freeze()
    wait_until(lambda: states(pids) == {"T"}, timeout=30, what="all frozen")
    parent.thaw()

    wait_until(lambda: "T" not in states(pids), timeout=30, what="all thawed")


def test_stop_returns_the_exit_code(processes: Processes) -> None:
    process = processes.python("-c", "import threading; print('up'); threading.Event().wait()")
    process.wait_for_line("up")

    assert process.stop() == -signal.SIGTERM


def test_settings_of_the_tests_own_environment_do_not_leak(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKQ_BROKER", "elsewhere:1")
    code = "import os; print([name for name in os.environ if name.startswith('TASKQ_')])"

    process = processes.python("-c", code, env={"TASKQ_GROUP": "mine"})

    assert process.wait_for_line(r"\[.*\]")[0] == "['TASKQ_GROUP']"


def test_ledger_keeps_every_line_of_many_writers(processes: Processes, ledger: Ledger) -> None:
    code = (
        "import os, sys; from tests.support.ledger import Ledger; l = Ledger(sys.argv[1])\n"
        "for i in range(500): l.write(f'{sys.argv[2]}-{i}', detail='x' * 200)"
    )
    writers = [processes.python("-c", code, str(ledger.path), str(n)) for n in range(4)]

    assert [writer.wait() for writer in writers] == [0] * 4

    sent = [f"{n}-{i}" for n in range(4) for i in range(500)]
    tally = ledger.tally(sent)
    assert tally.once == set(sent)
