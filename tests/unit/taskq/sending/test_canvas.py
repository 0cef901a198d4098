from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from taskq.errors import DecodeError
from taskq.sending.canvas import Followup, Parent, after_failure, after_success, check

PARENT = Parent("parent", "root", datetime(2026, 11, 23, 17, tzinfo=timezone.utc))


def sig(task: str, *args: Any, immutable: bool = False, **options: Any) -> dict[str, Any]:
    """Return a signature in the form in which Celery 5 writes it."""
    return {
        "task": task,
        "args": list(args),
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "chord_size": None,
        "immutable": immutable,
    }


def composed(kind: str, *tasks: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {**sig(f"celery.{kind}", **options), "subtask_type": kind, "kwargs": {"tasks": tasks}}


def calls(followups: list[Followup]) -> list[tuple[str, tuple[Any, ...]]]:
    return [(each.task, each.args) for each in followups]


def refusal(embed: Any) -> str:
    with pytest.raises(DecodeError) as caught:
        check(embed)
    return caught.value.reason


def test_a_callback_gets_the_result_before_its_own_arguments() -> None:
    embed = {"callbacks": [sig("a", 1), sig("b", 2, immutable=True)]}

    assert calls(after_success(embed, "r", PARENT)) == [("a", ("r", 1)), ("b", (2,))]


def test_the_next_of_a_chain_takes_the_rest_along() -> None:
    embed = {"chain": [sig("third"), sig("second"), sig("first", 1)]}

    [first] = after_success(embed, "r", PARENT)

    assert (first.task, first.args) == ("first", ("r", 1))
    assert first.embed is not None
    assert [step["task"] for step in first.embed["chain"]] == ["third", "second"]


def test_the_last_of_a_chain_has_nothing_behind_it() -> None:
    [last] = after_success({"chain": [sig("last")]}, "r", PARENT)

    assert last.embed is None


def test_callbacks_go_before_the_chain() -> None:
    embed = {"callbacks": [sig("callback")], "chain": [sig("next")]}

    assert [each.task for each in after_success(embed, 0, PARENT)] == ["callback", "next"]


def test_a_failure_sends_the_errbacks_alone() -> None:
    embed = {"callbacks": [sig("a")], "chain": [sig("b")], "errbacks": [sig("c", 1)]}

    assert calls(after_failure(embed, PARENT)) == [("c", ("parent", 1))]


def test_what_follows_knows_where_it_came_from() -> None:
    [followup] = after_success({"callbacks": [sig("a")]}, 0, PARENT)

    assert followup.headers == {"parent_id": "parent", "root_id": "root"}


def test_options_of_a_signature_are_kept() -> None:
    options: dict[str, Any] = {
        "task_id": "mine",
        "queue": "q",
        "expires": 60,
        "retries": 1,
        "link": [sig("l")],
        "link_error": sig("e"),
        "headers": {"tenant": 7},
    }

    [followup] = after_success({"callbacks": [sig("a", **options)]}, 0, PARENT)

    assert (followup.task_id, followup.queue) == ("mine", "q")
    assert followup.headers["expires"] == "2026-11-23T17:01:00+00:00"
    assert (followup.headers["retries"], followup.headers["tenant"]) == (1, 7)
    assert followup.embed is not None
    assert [each["task"] for each in followup.embed["callbacks"]] == ["l"]
    assert [each["task"] for each in followup.embed["errbacks"]] == ["e"]


def test_a_chain_within_a_chain_is_unrolled() -> None:
    embed = {"chain": [sig("z"), composed("chain", sig("a"), sig("b"))]}

    check(embed)
    [first] = after_success(embed, "r", PARENT)

    assert (first.task, first.args) == ("a", ("r",))
    assert first.embed is not None
    assert [step["task"] for step in first.embed["chain"]] == ["z", "b"]


def test_a_group_at_the_end_is_sent_to_all() -> None:
    embed = {"chain": [composed("group", sig("a", 1), sig("b"), link_error=[sig("e")])]}

    check(embed)
    followups = after_success(embed, "r", PARENT)

    assert calls(followups) == [("a", ("r", 1)), ("b", ("r",))]
    assert all(each.embed and each.embed["errbacks"][0]["task"] == "e" for each in followups)


def test_nothing_follows_where_nothing_is_asked_for() -> None:
    assert after_success(None, 0, PARENT) == []
    assert after_failure({}, PARENT) == []


@pytest.mark.parametrize(
    "embed",
    [
        {"chord": sig("a")},
        {"callbacks": [composed("chord", sig("a"))]},
        {"callbacks": [{**sig("celery.map"), "subtask_type": "xmap"}]},
        {"callbacks": [sig("a", countdown=3)]},
        {"callbacks": [sig("a", eta="2030-01-01")]},
        {"callbacks": [sig("a", link=[sig("b", chord=sig("c"))])]},
        {"chain": [sig("z"), composed("group", sig("a"))]},
        {"callbacks": [composed("chain", composed("group", sig("a")), sig("b"))]},
        {"callbacks": [composed("group", sig("a"), link=[sig("b")])]},
        {"stamps": {"a": 1}},
    ],
)
def test_what_cannot_be_sent_on_is_refused_before_the_run(embed: Any) -> None:
    assert refusal(embed) == "unsupported"


@pytest.mark.parametrize(
    "embed",
    [
        {"callbacks": 3},
        {"callbacks": ["a"]},
        {"callbacks": [{"args": []}]},
        {"callbacks": [{"task": "a", "args": 3}]},
        {"callbacks": [{"task": "a", "kwargs": []}]},
        {"callbacks": [{"task": "a", "options": []}]},
        {"callbacks": [sig("a", task_id=3)]},
        {"callbacks": [sig("a", headers=3)]},
        {"callbacks": [sig("a", expires=[])]},
        {"callbacks": [composed("chain")]},
    ],
)
def test_what_is_no_signature_is_unreadable(embed: Any) -> None:
    assert refusal(embed) == "unreadable"


def test_signatures_without_end_are_unreadable() -> None:
    nested = sig("a")
    for _ in range(200):
        nested = sig("a", link=[nested])

    assert refusal({"callbacks": [nested]}) == "unreadable"
