from __future__ import annotations

from taskq.acls import Right, needed_rights


def _on(rights: list[Right], name: str) -> set[str]:
    return {right.command for right in rights if right.name == name and right.kind == "topic"}


def test_the_topic_of_a_priority_step_needs_what_its_queues_does() -> None:
    rights = needed_rights(["q", "q.p9"], prefix="", group="taskq", auto_create=True)

    assert _on(rights, "q.p9") == _on(rights, "q")
    assert {right.name for right in rights if right.kind == "transactional-id"} >= {
        "taskq-redrive-q"
    }
    assert not {right.name for right in rights} & {"q.p9.dlq", "taskq-redrive-q.p9"}


def test_behind_a_prefix_one_rule_is_for_steps_too() -> None:
    with_step = needed_rights(["q", "q.p9"], prefix="shop-", group="taskq", auto_create=True)

    assert with_step == needed_rights(["q"], prefix="shop-", group="taskq", auto_create=True)
