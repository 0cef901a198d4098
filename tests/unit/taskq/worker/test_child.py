"""The program of a pool process, in a thread of the test's."""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Callable

from taskq import App
from taskq.logs import LogPlan
from taskq.sources import Sources
from taskq.worker.pools.child import ChildSetup, _serve
from taskq.worker.pools.childstate import ChildState

PLAN = LogPlan(logging.INFO, logging.INFO, whole=False)


def _setup(notes: list[str]) -> ChildSetup:
    def load() -> App:
        app = App("child")
        app.adopt(Sources())
        app.on("worker_process_shutdown")(lambda: notes.append("shutdown"))
        return app

    return ChildSetup(load, PLAN)


def _run(setup: ChildSetup, link: socket.socket) -> Callable[[], int | None]:
    """Start a child; return what waits for its exit code, None if it raised."""
    codes: list[int] = []
    state = ChildState.new()
    thread = threading.Thread(target=lambda: codes.append(_serve(setup, link, state)))
    thread.start()

    def wait() -> int | None:
        thread.join(5)
        state.close()
        return codes[0] if codes else None

    return wait


def test_child_whose_parent_died_with_its_reports_unread_ends_in_order() -> None:
    notes: list[str] = []
    mine, theirs = socket.socketpair()
    with theirs:
        wait = _run(_setup(notes), theirs)
        select.select([mine], [], [], 5)  # its first words are there, and stay unread

        mine.close()

        assert wait() == 0
    assert notes == ["shutdown"]


def test_child_whose_parent_died_before_it_was_ready_ends_in_order() -> None:
    notes: list[str] = []
    mine, theirs = socket.socketpair()
    mine.close()
    with theirs:
        assert _run(_setup(notes), theirs)() == 0
    assert notes == ["shutdown"]
