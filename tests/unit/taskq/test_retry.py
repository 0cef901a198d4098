"""When a task that failed runs again: the options of `@task`, what a task asks for, and what is decided."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.errors import InvalidArguments, UnknownOption
from taskq.outcome import Retry
from taskq.retry import Again, Never, RetryPolicy, decide, requeue_wait, retry_policy
from taskq.timing.timers import due_ms
from tests.support.clock import START
from tests.support.fake_broker import isolated_app

SECOND = timedelta(seconds=1)


def decided(policy: RetryPolicy, asked: Retry | None = None, **more: Any) -> Again | Never:
    settings: dict[str, Any] = {"retries": 0, "now": START, "expires": None, "dice": 0.5}
    return decide(policy, asked, task="t", **(settings | more))


def wait_of(decision: Again | Never) -> float:
    assert isinstance(decision, Again)
    return decision.wait


def test_backoff_doubles_up_to_its_longest() -> None:
    policy = retry_policy("t", retry_backoff=2, retry_backoff_max=10, retry_jitter=False)

    assert [policy.wait(retries, 0.5) for retries in range(5)] == [2, 4, 8, 10, 10]


def test_backoff_true_begins_with_a_second() -> None:
    policy = retry_policy("t", retry_backoff=True, retry_jitter=False)

    assert [policy.wait(retries, 0.5) for retries in range(3)] == [1, 2, 4]


def test_without_backoff_the_wait_is_always_the_same_and_has_no_jitter() -> None:
    assert [retry_policy("t").wait(retries, 0.5) for retries in range(3)] == [180, 180, 180]
    assert retry_policy("t", default_retry_delay=5).wait(7, 0.1) == 5


@given(
    st.floats(0.001, 1e6),
    st.floats(0, 1e6),
    st.integers(0, 10**6),
    st.floats(0, 1, exclude_max=True),
)
def test_full_jitter_is_between_nothing_and_the_backoff(
    factor: float, longest: float, retries: int, dice: float
) -> None:
    policy = retry_policy("t", retry_backoff=factor, retry_backoff_max=longest)
    whole = retry_policy(
        "t", retry_backoff=factor, retry_backoff_max=longest, retry_jitter=False
    ).wait(retries, dice)

    assert 0 <= policy.wait(retries, dice) <= whole <= longest


@given(st.integers(0, 20), st.integers(0, 20) | st.none(), st.floats(0, 1, exclude_max=True))
def test_a_retry_is_never_early_and_never_one_too_many(
    retries: int, limit: int | None, dice: float
) -> None:
    policy = retry_policy("t", max_retries=limit, retry_backoff=True)

    found = decided(policy, retries=retries, dice=dice)

    assert isinstance(found, Never) == (limit is not None and retries >= limit)
    if isinstance(found, Again):
        assert (found.retries, found.limit) == (retries + 1, limit)
        wanted = START + policy.wait(retries, dice) * SECOND
        assert found.due_ms == (0 if wanted == START else due_ms(wanted))


def test_a_countdown_or_an_eta_goes_before_the_policy() -> None:
    policy = retry_policy("t", retry_backoff=100)

    assert wait_of(decided(policy, Retry(countdown=3))) == 3
    assert wait_of(decided(policy, Retry(eta=START + 4 * SECOND))) == 4


@pytest.mark.parametrize("asked", [Retry(countdown=0), Retry(eta=START - SECOND)])
def test_what_is_due_already_runs_at_once(asked: Retry) -> None:
    assert decided(retry_policy("t"), asked) == Again(0, 0.0, 1, 3)


def test_a_task_may_ask_for_more_retries_than_its_policy_has() -> None:
    policy = retry_policy("t", max_retries=1)

    assert isinstance(decided(policy, Retry(countdown=1), retries=1), Never)
    assert isinstance(decided(policy, Retry(countdown=1, max_retries=2), retries=1), Again)


def test_a_retry_that_would_come_after_its_expires_is_none() -> None:
    policy = retry_policy("t", default_retry_delay=10)

    late = decided(policy, expires=START + 10 * SECOND)

    assert late == Never("its next retry would come after its expires")
    assert isinstance(decided(policy, expires=START + 11 * SECOND), Again)


@pytest.mark.parametrize(
    "asked",
    [
        Retry(countdown=1, eta=START),
        Retry(eta=START.replace(tzinfo=None)),
    ],
)
def test_what_a_task_cannot_ask_for_is_refused(asked: Retry) -> None:
    with pytest.raises(InvalidArguments):
        decided(retry_policy("t"), asked)


@pytest.mark.parametrize(
    ("wishes", "error"),
    [
        ({"countdown": -5}, ValueError),
        ({"countdown": math.inf}, ValueError),
        ({"countdown": math.nan}, ValueError),
        ({"countdown": "5"}, TypeError),
        ({"countdown": True}, TypeError),
        ({"max_retries": -1}, ValueError),
        ({"max_retries": 1.5}, TypeError),
        ({"exc": "text"}, TypeError),
    ],
)
def test_a_retry_that_cannot_be_is_refused_when_it_is_made(
    wishes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(wishes))):
        Retry(**wishes)


def test_errors_are_chosen_as_except_does() -> None:
    policy = retry_policy("t", autoretry_for=OSError, dont_autoretry_for=[PermissionError])

    assert policy.wants(ConnectionError())
    assert not policy.wants(PermissionError())
    assert not policy.wants(ValueError())
    assert not retry_policy("t", autoretry_for=(Exception,)).wants(SystemExit())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_retries": -1}, "max_retries is a whole number"),
        ({"max_retries": True}, "max_retries is a whole number"),
        ({"max_retries": 2.5}, "max_retries is a whole number"),
        ({"retry_backoff": -1}, "retry_backoff is"),
        ({"retry_backoff": "2"}, "retry_backoff is"),
        ({"retry_backoff_max": -5}, "retry_backoff_max is"),
        ({"retry_backoff_max": math.inf}, "retry_backoff_max is"),
        ({"default_retry_delay": math.nan}, "default_retry_delay is"),
        ({"default_retry_delay": timedelta(1)}, "default_retry_delay is"),
        ({"retry_jitter": 0.5}, "retry_jitter is"),
        ({"autoretry_for": "ConnectionError"}, "autoretry_for is a tuple of exception classes"),
        ({"autoretry_for": (int,)}, "<class 'int'> is none"),
        ({"autoretry_for": (ValueError("x"),)}, "is none"),
        ({"dont_autoretry_for": 3}, "dont_autoretry_for is a tuple of exception classes"),
    ],
)
def test_options_that_cannot_be_are_refused_where_the_task_is_defined(
    options: dict[str, Any], words: str
) -> None:
    app, _ = isolated_app()

    with pytest.raises(InvalidArguments, match=words):
        app.task("t", **options)(lambda: None)


def test_an_option_that_is_misspelt_is_told_the_nearest() -> None:
    app, _ = isolated_app()

    with pytest.raises(UnknownOption, match="did you mean 'autoretry_for'"):
        app.task("t", autoretry_fro=(OSError,))  # type: ignore[call-overload]  # the mistake


def test_retries_are_the_tasks_affair_and_not_the_calls() -> None:
    app, _ = isolated_app()
    found = app.task("t")(lambda: None)

    with pytest.raises(UnknownOption, match="it is an option of @task"):
        found.apply_async(max_retries=3)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(UnknownOption, match="has no such option"):
        found.options(retries=3)  # type: ignore[arg-type]  # the mistake


def test_a_task_that_always_puts_itself_back_comes_ever_later() -> None:
    assert [requeue_wait(times) for times in (1, 2, 3, 4, 7, 8, 9, 10**6)] == [
        0,
        1,
        2,
        4,
        32,
        60,
        60,
        60,
    ]
