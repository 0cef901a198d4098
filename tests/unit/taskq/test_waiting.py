from __future__ import annotations

from taskq.protocols import Outgoing
from taskq.timing.timers import cancel_write, timer_write
from taskq.waiting import read_waiting
from tests.support.clock import START
from tests.support.fake_logs import StoredRecord


def timer(id: str, due_ms: int, unique: str = "1") -> StoredRecord:
    message = Outgoing("q", b"[]", [("task", b"t"), ("id", id.encode())])
    write = timer_write(message, task_id=id, due_ms=due_ms, unique=unique)
    return StoredRecord(write.key, write.value, write.headers)


def cancel(id: str) -> StoredRecord:
    write = cancel_write(id, START)
    return StoredRecord(write.key, write.value)


def test_the_next_due_comes_first() -> None:
    waiting = read_waiting([timer("a", 3), timer("b", 1), timer("c/d", 2)])

    assert [(each.id, each.due_ms) for each in waiting.timers] == [("b", 1), ("c/d", 2), ("a", 3)]
    assert (waiting.timers[0].task, waiting.timers[0].queue) == ("t", "q")


def test_what_has_fired_or_was_cancelled_does_not_wait() -> None:
    fired = timer("a", 1)

    waiting = read_waiting(
        [
            fired,
            timer("a", 2, "2"),
            timer("b", 3),
            StoredRecord(fired.key, None),
            cancel("b"),
            StoredRecord(b"never/seen", None),
        ]
    )

    assert [(each.id, each.due_ms) for each in waiting.timers] == [("a", 2)]
    assert len(waiting.of("a")) == 1
    assert not waiting.of("b")


def test_what_was_sent_again_after_its_cancel_waits() -> None:
    waiting = read_waiting([timer("a", 1), cancel("a"), timer("a", 9, "2")])

    assert [each.due_ms for each in waiting.of("a")] == [9]


def test_what_cannot_be_read_is_counted() -> None:
    newer = timer("a", 1)
    newer.headers = [
        (name, b"2" if name == "timer-format" else value) for name, value in newer.headers
    ]

    waiting = read_waiting([newer, StoredRecord(b"b/1", b"x"), timer("c", 1)])

    assert (len(waiting.timers), waiting.unread) == (1, 2)
