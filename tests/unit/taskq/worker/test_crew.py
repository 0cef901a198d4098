from __future__ import annotations

import queue
import threading
from typing import NoReturn

import pytest

from taskq.worker.pools.crew import Crew


def _raise() -> NoReturn:
    raise SystemExit(3)


def test_a_call_that_raises_does_not_end_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    threads: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
    ended = threading.Event()
    crew = Crew(1, "crew", ended.set)

    crew.submit(lambda: threads.put(threading.current_thread()))
    crew.submit(_raise)
    crew.submit(lambda: threads.put(threading.current_thread()))
    before, after = threads.get(timeout=5), threads.get(timeout=5)
    crew.dismiss()

    assert before is after
    assert ended.wait(5)
    before.join(5)
    assert [getattr(record, "event", "") for record in caplog.records] == ["pool.failed"]


class Starts:
    """Lets a system give so many threads, and no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.left = count
        real = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            if not self.left:
                raise RuntimeError("can't start new thread")
            self.left -= 1
            real(thread)

        monkeypatch.setattr(threading.Thread, "start", start)


def test_where_the_system_gives_no_thread_more_calls_wait_for_those_that_are_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    starts, made = Starts(monkeypatch, 1), queue.SimpleQueue[int]()
    is_busy = threading.Event()
    crew = Crew(3, "crew", lambda: None)

    def hold() -> None:  # or the thread might be done with each call before the next one comes
        is_busy.wait(5)

    crew.submit(hold)
    for number in range(4):
        crew.submit(lambda number=number: made.put(number))  # type: ignore[misc]  # mypy cannot infer it
    is_busy.set()
    ran = [made.get(timeout=5) for _ in range(4)]
    starts.left = 2
    crew.dismiss()

    assert ran == [0, 1, 2, 3]
    assert [getattr(record, "event", "") for record in caplog.records] == ["pool.start_failed"]


def test_without_any_thread_a_call_is_refused_and_the_next_one_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts, made = Starts(monkeypatch, 0), threading.Event()
    crew = Crew(1, "crew", lambda: None)

    with pytest.raises(RuntimeError):
        crew.submit(made.set)
    starts.left = 1
    crew.submit(made.set)

    assert made.wait(5)
    crew.dismiss()
