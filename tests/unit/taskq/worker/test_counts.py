from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from taskq.worker.counts import Counts


def test_what_threads_count_adds_up() -> None:
    counts = Counts()

    def count() -> None:
        for _ in range(100):
            counts.add(("a", "x"))

    with ThreadPoolExecutor(4) as pool:
        for _ in range(8):
            pool.submit(count)
    counts.add(("b", "x"))

    assert counts.total() == {("a", "x"): 800, ("b", "x"): 1}


def test_a_thread_keeps_its_counters() -> None:
    counts = Counts()
    counts.add(("a",))

    assert counts.mine() is counts.mine()
    assert counts.mine() == {("a",): 1}
