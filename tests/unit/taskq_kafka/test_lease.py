"""The text of a lease."""

from __future__ import annotations

import pytest

from taskq_kafka.lease import RELEASED, NewerLease, lease_of, owner_in


def test_a_lease_names_its_owner() -> None:
    assert owner_in(lease_of("p-taskq-timers-1:2")) == "p-taskq-timers-1:2"


def test_stored_leases_of_the_first_format_are_read() -> None:
    # The client sends the text with the zero that ends it in C.
    assert owner_in("1:taskq-timers-b05c\0") == "taskq-timers-b05c"


@pytest.mark.parametrize("metadata", [None, "", "\0", RELEASED])
def test_nobody_has_a_lease_that_was_never_taken_or_was_released(metadata: str | None) -> None:
    assert owner_in(metadata) is None


@pytest.mark.parametrize("metadata", ["3:new", "2:", "1:", "text of another program"])
def test_a_lease_of_another_format_is_not_guessed_at(metadata: str) -> None:
    with pytest.raises(NewerLease):
        owner_in(metadata)
