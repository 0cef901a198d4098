from __future__ import annotations

import pytest

from taskq.worker.progress import Progress
from tests.support.clock import FakeClock


def test_who_moves_says_when() -> None:
    clock = FakeClock()
    progress = Progress(clock.monotonic)
    before = progress.moved

    clock.advance(3)
    progress.move()

    assert progress.moved == before + 3


def test_who_waits_for_the_broker_says_so_until_it_is_over_and_has_moved_then() -> None:
    clock = FakeClock()
    progress = Progress(clock.monotonic)
    before = progress.moved

    with pytest.raises(ConnectionError), progress.waiting_for("its group"):  # noqa: PT012 - the time passes in it
        waits_for = progress.waits_for
        clock.advance(30)
        raise ConnectionError

    assert (waits_for, progress.waits_for) == ("its group", "")
    assert progress.moved == before + 30
