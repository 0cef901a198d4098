from __future__ import annotations

import pytest

from taskq.errors import UsageError
from taskq.timing.revocation import KEPT_MS, Revocations, check_id, revoked_write
from tests.support.clock import START
from tests.support.fake_logs import StoredRecord

VALUE = b'{"format": 1, "at": "2026-11-23T17:00:00Z", "terminate": false}'
TERMINATING = b'{"format": 1, "at": "2026-11-23T17:00:00Z", "terminate": true}'


def test_what_is_written_is_read_back() -> None:
    write = revoked_write("ns/1@2026-11-23T17:00:00Z", START)
    revoked = Revocations()

    is_new = revoked.apply(StoredRecord(write.key, write.value), 0)

    assert is_new
    assert "ns/1@2026-11-23T17:00:00Z" in revoked
    assert (write.log, write.route) == ("taskq.revoked", write.key)


def test_bytes_of_this_version_are_read_for_ever() -> None:
    revoked = Revocations()

    revoked.apply(StoredRecord(b"x", VALUE), 0)
    revoked.apply(StoredRecord(b"y", TERMINATING), 0)

    assert ("x" in revoked, "y" in revoked) == (True, True)
    assert (revoked.terminates("x"), revoked.terminates("y")) == (False, True)


def test_bytes_of_this_version_are_written() -> None:
    writes = [revoked_write("x", START), revoked_write("x", START, terminate=True)]

    assert [write.value for write in writes] == [VALUE, TERMINATING]


@pytest.mark.parametrize("value", [b'{"format": 1}', b'{"format": 1, "terminate": "yes", "z": 1}'])
def test_what_asks_for_more_than_is_known_here_revokes_and_ends_nothing(value: bytes) -> None:
    revoked = Revocations()

    revoked.apply(StoredRecord(b"x", value), 0)

    assert "x" in revoked
    assert not revoked.terminates("x")


def test_what_is_to_be_ended_stays_so_until_it_is_forgotten() -> None:
    revoked = Revocations()
    revoked.apply(StoredRecord(b"x", TERMINATING, timestamp_ms=0), 0)
    revoked.apply(StoredRecord(b"x", VALUE, timestamp_ms=0), 0)

    before = revoked.terminates("x")
    revoked.tidy(KEPT_MS)

    assert before
    assert not revoked.terminates("x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", VALUE),
        (b"\xff", VALUE),
        (b"x", b"{"),
        (b"x", b"[]"),
        (b"x", b'{"format": 2}'),
        (b"x", b"{}"),
        (b"x", None),
    ],
)
def test_what_cannot_be_read_revokes_nothing(key: bytes, value: bytes | None) -> None:
    revoked = Revocations()

    assert not revoked.apply(StoredRecord(key, value), 0)

    assert (len(revoked), revoked.version) == (0, 0)


def test_a_revocation_counts_for_a_day() -> None:
    revoked = Revocations()
    revoked.apply(StoredRecord(b"x", VALUE, timestamp_ms=1000), 1000)

    revoked.tidy(999 + KEPT_MS)
    before = "x" in revoked
    revoked.tidy(1000 + KEPT_MS)

    assert before
    assert "x" not in revoked
    assert not revoked.apply(StoredRecord(b"y", VALUE, timestamp_ms=0), KEPT_MS)


def test_a_tombstone_takes_a_revocation_back() -> None:
    revoked = Revocations()
    revoked.apply(StoredRecord(b"x", TERMINATING), 0)

    revoked.apply(StoredRecord(b"x", None), 0)

    assert "x" not in revoked
    assert not revoked.terminates("x")


def test_revoking_twice_is_revoking_once_and_counts_anew() -> None:
    revoked = Revocations()
    revoked.apply(StoredRecord(b"x", VALUE, timestamp_ms=0), 0)

    is_new = revoked.apply(StoredRecord(b"x", VALUE, timestamp_ms=500), 500)
    revoked.tidy(KEPT_MS)

    assert not is_new
    assert "x" in revoked


def test_of_too_many_the_oldest_are_forgotten() -> None:
    revoked = Revocations(most=2)

    for name in (b"a", b"b", b"c"):
        revoked.apply(StoredRecord(name, VALUE), 0)

    assert [name in revoked for name in "abc"] == [False, True, True]
    assert revoked.forgotten == 1


@pytest.mark.parametrize("id", ["", "a\nb", "x" * 1001])
def test_what_is_no_tasks_id_is_refused(id: str) -> None:
    with pytest.raises(UsageError, match="no task's id"):
        check_id(id)
