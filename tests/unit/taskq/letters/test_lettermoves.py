from __future__ import annotations

import threading

import pytest

from taskq.letters.lettermoves import BATCH, Moves, batch_size
from taskq.protocols import Removal, StoredDeadLetter
from tests.support.clock import FakeClock
from tests.support.fake_broker import FakeAdmin


class SteppingClock(FakeClock):
    """Whose waits are over at once."""

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        self.advance(max(0.0, timeout or 0.0))
        return event.is_set()


def removals(count: int) -> list[Removal]:
    return [Removal(StoredDeadLetter(f"q/0/{number}", "q", b"")) for number in range(count)]


def moves_of(admin: FakeAdmin, clock: FakeClock | None = None, rate: float | None = None) -> Moves:
    mover = admin.move_dead_letters("q", timeout=1)
    return Moves(mover, clock=clock or FakeClock(), timeout=1, rate=rate)


def test_all_go_in_order_in_transactions_of_a_hundred() -> None:
    admin, all_of_them = FakeAdmin(), removals(250)
    moves = moves_of(admin)

    moves.run(all_of_them)

    assert [len(each) for each in admin.transactions] == [100, 100, 50]
    assert admin.moved == all_of_them
    assert moves.moved == 250


def test_a_rate_is_kept_and_a_low_one_is_even() -> None:
    admin, clock = FakeAdmin(), SteppingClock()
    start = clock.monotonic()

    moves_of(admin, clock, rate=50).run(removals(100))

    assert {len(each) for each in admin.transactions} == {5}
    assert clock.monotonic() - start == pytest.approx(95 / 50)


@pytest.mark.parametrize(
    ("rate", "size"), [(None, BATCH), (0.5, 1), (10, 1), (95, 9), (1e9, BATCH)]
)
def test_a_transaction_is_a_tenth_of_a_second_at_most(rate: float | None, size: int) -> None:
    assert batch_size(rate) == size


def test_one_that_can_never_be_moved_does_not_hold_the_others() -> None:
    admin, all_of_them = FakeAdmin(), removals(150)
    culprit = all_of_them[3]
    admin.refuses = lambda removal: ValueError("too large") if removal is culprit else None
    moves = moves_of(admin)

    moves.run(all_of_them)

    assert moves.failed == [(culprit, "too large")]
    assert moves.moved == 149
    assert culprit not in admin.moved


def test_it_ends_when_another_has_taken_over() -> None:
    admin = FakeAdmin()
    admin.taken_over_after = 100
    moves = moves_of(admin)

    moves.run(removals(300))

    assert moves.is_fenced
    assert (moves.moved, len(admin.transactions)) == (100, 2)


def test_other_errors_end_it() -> None:
    admin = FakeAdmin()
    admin.refuses = lambda removal: ConnectionError("gone")

    with pytest.raises(ConnectionError):
        moves_of(admin).run(removals(3))

    assert len(admin.transactions) == 1
