"""What plain sends of a task have in common, and when it is worked out anew."""

from __future__ import annotations

import pytest

from taskq.errors import EncodeError
from taskq.message import JSON
from taskq.sending.plainsend import PlainSend


def plain(priority: int = 0) -> PlainSend:
    return PlainSend("t", "q", priority=priority, format=JSON, revoke=lambda *ids, **how: None)


def test_a_message_goes_to_the_queue_that_its_result_names() -> None:
    message, result = plain().message("id-1", (1,), {})

    assert (message.queue, result.queue, result.task, result.id) == ("q", "q", "t", "id-1")
    assert message.key is None


def test_a_message_with_a_priority_goes_to_its_step_and_its_result_names_the_queue() -> None:
    message, result = plain(priority=9).message("id-1", (1,), {})

    assert (message.queue, result.queue) == ("q.p9", "q")
    assert ("kombu-priority", b"9") in message.headers


def test_an_argument_that_cannot_be_written_is_named() -> None:
    with pytest.raises(EncodeError, match="argument 1"):
        plain().message("id-1", (object(),), {})


@pytest.mark.parametrize(("queue", "priority"), [("other", 0), ("q", 3)])
def test_it_does_not_stand_for_another_queue_or_priority(queue: str, priority: int) -> None:
    assert plain().is_for("q", 0, JSON)
    assert not plain().is_for(queue, priority, JSON)
