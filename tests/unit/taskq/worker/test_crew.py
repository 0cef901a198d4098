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
